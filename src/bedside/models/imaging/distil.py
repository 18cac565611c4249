"""Distillation: a small network learns from what a large one says of each image, not only from its label.

The target of a training image is a mixture of its label and of the teacher's probabilities, softened by a temperature
(Hinton 2015): what the teacher confuses tells the pupil how images are alike.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.models.imaging.classifier import AT_ONCE, ImageClassifier
from bedside.models.imaging.loop import Examples
from bedside.models.imaging.onnx_network import softmax
from bedside.models.imaging.pixels import Pixels
from bedside.models.imaging.small_cnn import SmallCNN
from bedside.models.seeded import with_threads
from bedside.models.task import Classify

TEMPERATURE = 2.0
SHARE = 0.7  # of the target that is the teacher's


def distilled(teacher: ImageClassifier, train: Cohort, tune: Cohort | None, *, task: Classify, run: Run) -> SmallCNN:
    """A small CNN that has learnt from a fitted teacher, for as many epochs as it, on images of the same side.

    `train` and `tune` are rows as the network sees them, with their outcome; `tune` is judged by its labels alone.
    """
    soft = dict(zip(train["row_id"].to_list(), soft_targets(teacher, train, task), strict=True))

    class Pupil(SmallCNN):
        def _examples(self, pixels: Pixels, part: Cohort, task: Classify, y: Any, folder: Path) -> Examples:
            import torch

            made = super()._examples(pixels, part, task, y, folder)
            if not all(name in soft for name in made.ids):
                return made
            return replace(made, y=torch.from_numpy(np.stack([soft[name] for name in made.ids])))

    learnt = teacher.learnt
    pupil = Pupil(
        image=teacher.image,
        budget={"epochs": max(1, learnt.progress.planned or 1)},
        loss="cross_entropy",
        class_weight=teacher.class_weight,
        augment=teacher.augment,
        colour=len(learnt.pixels.mean) == 3,
    )
    pupil.fit(train, tune, task=task, run=run)
    made = SmallCNN(**pupil.parameters())
    made.learnt_ = pupil.learnt_
    return made


def soft_targets(teacher: ImageClassifier, part: Cohort, task: Classify) -> NDArray[np.float32]:
    """Shares of classes, shape (rows, classes): 0.7 softmax(z / 2) of the teacher's logits z, 0.3 the label."""
    import torch

    labels = np.eye(len(task.classes))[task.truth(part)]
    logits = np.zeros_like(labels)
    for start in range(0, len(part), AT_ONCE):
        rows = np.arange(start, min(start + AT_ONCE, len(part)))
        with torch.inference_mode(), with_threads(teacher.learnt.threads):
            logits[rows] = teacher.network()(torch.from_numpy(teacher.inputs(part.take(rows)))).numpy()
    return (SHARE * softmax(logits / TEMPERATURE) + (1 - SHARE) * labels).astype(np.float32)
