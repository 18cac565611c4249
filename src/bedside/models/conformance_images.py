"""What "Bedside has image model X" means: the rules of every model, put on images, and that killing it changes nothing.

`check_model` of `bedside.models.conformance` puts these to a model whose modality is image. `python -m
bedside.models.conformance_images FOLDER BATCH` fits the case in a folder and kills itself at that batch (SIGKILL).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from bedside.cohort.run import Run
from bedside.errors import DataError
from bedside.models import conformance as tables
from bedside.models.conformance import Case, NotConforming
from bedside.models.digest import folder_digest
from bedside.models.imaging.network import HasNetwork
from bedside.models.pipeline import Pipeline
from bedside.models.task import Multilabel

KILLED_AT = (9, 9)  # batches from the start of each process: each has an epoch behind it that the next goes on from
_CLOSE = 1e-6  # a batch of another size is added up in another order


def loads_equal(case: Case) -> None:
    """Saved and loaded it predicts the same, on golden images and one at a time too, and saves the same bytes again."""
    folder = case.saved("fitted", case.fitted)
    loaded = Pipeline.load(folder)
    tables.same(loaded.predict(case.test), case.predictions, 1e-12, "after loading")
    golden = case.fitted.golden(8, seed=1)
    tables.same(loaded.predict(golden), case.fitted.predict(golden), 1e-12, "on golden images")
    one = np.array([3])
    tables.same(loaded.predict(case.test.take(one)), case.predictions.take(one), _CLOSE, "for one image alone")
    if folder_digest(case.saved("again", loaded)) != folder_digest(folder):
        raise NotConforming("saved again after loading, its files differ")


def row_order_is_nothing(case: Case) -> None:
    """Rows in another order, in training or in use, give each row the same prediction."""
    order = np.random.default_rng(1).permutation(len(case.test))
    tables.same(case.fitted.predict(case.test.take(order)), case.predictions.take(order), _CLOSE, "for permuted rows")
    shuffled = case.train.take(np.random.default_rng(2).permutation(len(case.train)))
    again = case.saved("shuffled", case.fit(shuffled))
    if folder_digest(again) != folder_digest(case.saved("fitted", case.fitted)):
        raise NotConforming("trained on permuted rows, its digest differs")


def refuses_a_missing_image(case: Case) -> None:
    """A row without its image is refused as data: there is nothing to say of it."""
    blank = case.test.frame.with_columns(pl.lit(None, dtype=pl.String).alias("image"))
    try:
        case.fitted.predict(case.test.derive(blank))
    except DataError as error:
        if "image" not in str(error):
            raise NotConforming(f"the field without an image is not named: {error}") from None
        return
    raise NotConforming("a row without an image got a prediction")


def identical_images(case: Case) -> None:
    """Images that are all the same are refused as data, or learnt from and give all rows one prediction."""
    first = case.train.frame["image"][0]
    same = case.train.derive(case.train.frame.with_columns(pl.lit(first).alias("image")))
    with suppress(DataError):
        found = case.fit(same).predict(same).probabilities
        if not np.ptp(found, axis=0).max() < _CLOSE:
            raise NotConforming("the same image gets different predictions")


def has_a_network(case: Case) -> None:
    """Its network takes what `inputs` makes, answers as `predict` does, and its target layer is one of its own."""
    import torch

    model = case.fitted.model
    if not isinstance(model, HasNetwork):
        raise NotConforming(f"'{type(model).__name__}' lacks a member of bedside.models.imaging.network.HasNetwork")
    if model.target_layer() not in dict(model.network().named_modules()):
        raise NotConforming(f"the network has no layer '{model.target_layer()}'")
    with torch.inference_mode():
        logits = model.network()(torch.from_numpy(model.inputs(case.fitted.prepare(case.test))))
    labels = isinstance(case.fitted.task, Multilabel)
    made = torch.sigmoid(logits.double()) if labels else torch.softmax(logits.double(), dim=1)
    gap = np.abs(made.numpy() - case.predictions.probabilities).max()
    if not gap <= _CLOSE:
        raise NotConforming(f"the network and `predict` differ by {gap:.2g}")


def killing_changes_nothing(case: Case) -> None:
    """Killed twice while it trains (SIGKILL) and started again in the same folder, it ends with the same bytes."""
    folder = case.folder / "killed"
    folder.mkdir(exist_ok=True)
    (folder / "case.json").write_text(json.dumps({"spec": case.spec, "target": case.target}))
    for batch in KILLED_AT:
        command = [sys.executable, "-m", "bedside.models.conformance_images", str(folder), str(batch)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own module)
        if done.returncode != -signal.SIGKILL:
            raise NotConforming(f"training ended before it was killed: {done.stderr.strip()[-2000:]}")
    resumed = replace(case, folder=folder)
    again = resumed.saved("resumed", resumed.fit(resumed.train))
    if folder_digest(again) != folder_digest(case.saved("fitted", case.fitted)):
        raise NotConforming("killed and resumed, its digest differs")


RULES: dict[str, Callable[[Case], None]] = {
    rule.__name__: rule
    for rule in (
        tables.describes_itself,
        tables.beats_majority,
        loads_equal,
        tables.loads_in_a_fresh_process,
        tables.same_seed_same_digest,
        row_order_is_nothing,
        refuses_a_missing_image,
        tables.three_rows,
        tables.one_class_is_refused,
        identical_images,
        tables.leaves_its_input_alone,
        tables.refuses_an_unknown_parameter,
        has_a_network,
        tables.labels_are_fitted_alone,
        killing_changes_nothing,
    )
}


def _fit_and_die(folder: Path, batch: int) -> None:
    case = Case(**json.loads((folder / "case.json").read_text()), folder=folder)
    seen = 0

    def die() -> bool:
        nonlocal seen
        seen += 1
        if seen == batch:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    case.fit(case.train, run=Run(folder, seed=tables.SEED, threads=1, cancelled=die))


def _main(arguments: Sequence[str]) -> None:
    _fit_and_die(Path(arguments[0]), int(arguments[1]))


if __name__ == "__main__":
    _main(sys.argv[1:])
