"""An epoch of training by our loop against a plain torch loop with the same network, optimiser and batches.

The peer is what one would write by hand: all images as one float32 tensor in memory, AdamW, cross-entropy, no
augmentation, no averaging, no checkpoint. Ours reads squares from disk, averages weights and writes a checkpoint after
each epoch; with the augmentation that a plan has by default it is printed too, which the peer does not have.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.models import catalogue
from bedside.models.example_images import example_images
from bedside.models.imaging.pixels import Pixels
from bedside.models.imaging.squares import Squares
from bedside.models.task import Classify

ROWS, SIDE, BATCH, EPOCHS = 160, 96, 16, 3
TASK = Classify("blob", ("no", "yes"), "yes")


def spec(name: str, **more: Any) -> dict[str, Any]:
    """Our model, without what the peer does not have."""
    plain = {"loss": "cross_entropy", "augment": "none", "batch": BATCH, "image": SIDE, "budget": {"epochs": EPOCHS}}
    return {"name": name, **plain, **more}


def ours(cohort: Cohort, model: dict[str, Any]) -> float:
    """CPU seconds of the fastest epoch after the first, in which images are decoded."""
    at: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), seed=1, report=lambda _done, _told: at.append(time.process_time()))
        catalogue.build(model).fit(cohort, None, task=TASK, run=run)
    return float(np.diff(at).min())


def theirs(cohort: Cohort, name: str) -> float:
    """CPU seconds of the fastest epoch after the first of the hand-written loop."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    squares = Squares(cohort, "image", SIDE)
    pixels = Pixels.learnt(squares, "image", None)
    x = torch.from_numpy(pixels.taken(squares, range(len(cohort))))
    y = torch.from_numpy(TASK.truth(cohort).copy())
    network = catalogue.build(spec(name)).build(x.shape[1], 2).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.02, fused=True)
    taken = []
    for _ in range(EPOCHS):
        start = time.process_time()
        for rows in torch.randperm(len(x)).split(BATCH):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
            optimiser.step()
        taken.append(time.process_time() - start)
    return min(taken[1:])


def main() -> None:
    cohort = example_images(ROWS, SIDE).keeping(["image", "blob"])
    print(
        f"{ROWS} grey images of {SIDE} × {SIDE}, batches of {BATCH}, one thread, the fastest of {EPOCHS - 1} epochs\n"
    )
    print("| network | ours, CPU-s an epoch | plain torch loop | ratio (aim ≤ 1.1) | ours with augmentation |")
    print("|---|---|---|---|---|")
    for name in sys.argv[1:] or ("small_cnn", "resnet"):
        peer, mine = theirs(cohort, name), ours(cohort, spec(name))
        with_more = ours(cohort, spec(name, augment="general"))
        print(f"| `{name}` | {mine:.2f} | {peer:.2f} | {mine / peer:.2f} | {with_more:.2f} |", flush=True)


if __name__ == "__main__":
    main()
