"""Erasure: the subject's bytes are gone, everybody else's stay, and what was derived is named."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from bedside.cohort import EVENT_COLUMNS, Cohort, Field, Forgotten, Origin, Store, forget


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(tmp_path / "store" if request.param == "folder" else f"memory://{uuid.uuid4()}")


def visits(subjects: list[str], images: list[str | None] | None = None) -> Cohort:
    columns = {"x": [float(i) for i in range(len(subjects))], "image": images or [None] * len(subjects)}
    return Cohort.of(columns, [Field("x", "number"), Field("image", "volume")], subject=subjects)


def everything(store: Store) -> bytes:
    """Every byte the store can be asked for."""
    texts = [store.get(digest) for digest in store.digests()]
    frames = [store.get_cohort(digest) for digest in store.cohorts()]
    tables = [frame.frame.write_csv().encode() for frame in frames]
    return b"".join([*texts, *tables, *[f.events.write_csv().encode() for f in frames if f.events is not None]])


def test_rows_and_events_go_and_the_rest_stays(store: Store) -> None:
    events = [(name, datetime(2020, 1, 1), "LAB", 1.0, None) for name in ("anna", "ben")]
    base = visits(["anna", "ben", "anna", "cleo"])
    cohort = Cohort(
        base.schema, base.frame, pl.DataFrame(events, schema=EVENT_COLUMNS, orient="row"), (Origin("read"),)
    )
    other = visits(["dora"])
    old, untouched = store.put_cohort(cohort), store.put_cohort(other)
    done = forget(store, "anna")
    [(erased, new)] = done.rewritten.items()
    assert erased == old and not store.has_cohort(old)
    assert store.cohorts() == sorted([new, untouched])
    rest = store.get_cohort(new)
    assert rest["subject"].to_list() == ["ben", "cleo"] and rest["x"].to_list() == [1.0, 3.0]
    assert rest.events is not None and rest.events["subject_id"].to_list() == ["ben"]
    assert rest.lineage == (Origin("read"), Origin("forget", {}, (old,)))
    assert b"anna" not in everything(store)
    assert len(done.removed) == 3 and not any(store.has(digest) for digest in done.removed)
    assert forget(store, "anna") == Forgotten()


def test_a_subject_with_events_only_goes_too(store: Store) -> None:
    events = pl.DataFrame([("anna", datetime(2020, 1, 1), "LAB", 1.0, None)], schema=EVENT_COLUMNS, orient="row")
    base = visits(["ben"])
    store.put_cohort(Cohort(base.schema, base.frame, events))
    assert len(forget(store, "anna").rewritten) == 1
    assert b"anna" not in everything(store)


def test_files_of_this_subject_alone_go(store: Store) -> None:
    own, shared, both_ways = store.put(b"anna's ct"), store.put(b"a phantom"), store.put(b"slice in two series")
    slices = [store.put(b"anna 1"), store.put(b"anna 2")]
    hers = store.put_json({"format": 1, "instances": [*slices, both_ways], "spacing": [1, 1, 2.5]})
    bens = store.put_json({"format": 1, "instances": [both_ways]})
    loose = store.put(b"no cohort names this")
    store.put_cohort(visits(["anna", "anna", "anna", "ben", "ben"], [own, shared, hers, shared, bens]))
    done = forget(store, "anna")
    assert not any(store.has(digest) for digest in (own, hers, *slices))
    assert all(store.has(digest) for digest in (shared, both_ways, bens, loose))
    assert {own, hers, *slices} <= set(done.removed)


def test_a_file_that_another_cohort_uses_for_another_subject_stays(store: Store) -> None:
    image = store.put(b"image")
    store.put_cohort(visits(["anna"], [image]))
    store.put_cohort(visits(["ben"], [image]))
    forget(store, "anna")
    assert store.has(image)


def test_what_was_derived_is_named_through_any_number_of_steps(store: Store) -> None:
    raw = visits(["anna", "ben", "cleo"])
    clean = visits(["anna", "ben"]).with_origin(Origin("clean", {}, (raw.digest,)))
    means = Cohort.of({"mean": [1.0]}, [Field("mean", "number")]).with_origin(Origin("summarise", {}, (clean.digest,)))
    later = Cohort.of({"z": [2.0]}, [Field("z", "number")]).with_origin(Origin("scale", {}, (means.digest,)))
    apart = visits(["dora"])
    for cohort in (raw, clean, means, later, apart):
        store.put_cohort(cohort)
    done = forget(store, "anna")
    assert set(done.rewritten) == {raw.digest, clean.digest}
    assert done.derived == tuple(sorted([done.rewritten[clean.digest], means.digest, later.digest]))


def test_every_lineage_of_a_content_is_kept(store: Store) -> None:
    cohort = visits(["anna", "ben"])
    for name in ("a", "b"):
        store.put_cohort(cohort.with_origin(Origin("read", {"path": name})))
    [new] = forget(store, "anna").rewritten.values()
    assert sorted(line[0].parameters["path"] for line in store.lineages(new)) == ["a", "b"]


def test_a_cohort_of_this_subject_alone_becomes_empty(store: Store) -> None:
    store.put_cohort(visits(["anna"]))
    [new] = forget(store, "anna").rewritten.values()
    assert len(store.get_cohort(new)) == 0


def test_marks_are_made_before_any_byte_goes(store: Store) -> None:
    old = store.put_cohort(visits(["anna", "ben"]))
    seen: list[tuple[Forgotten, bool]] = []
    done = forget(store, "anna", mark=lambda planned: seen.append((planned, store.has_cohort(old))))
    assert len(seen) == 1 and seen[0][1]
    assert seen[0][0].rewritten == done.rewritten and seen[0][0].derived == done.derived


KILLED = """
import os, signal, sys
from bedside.cohort import Store, forget
store = Store(sys.argv[1])
left = int(sys.argv[2])
def die(event, arguments):
    global left
    if event in ("os.rename", "os.remove"):  # each durable change of the store
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(die)
forget(store, "anna")
"""


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_before_any_change_and_called_again_it_ends_the_same(tmp_path: Path, step: int) -> None:
    reached = set()
    for changes in range(0, 100, step):
        store = Store(tmp_path / str(changes))
        image, kept = store.put(b"anna's"), store.put(b"ben's")
        store.put_cohort(visits(["anna", "ben"], [image, kept]))
        store.put_cohort(visits(["ben", "anna"]))
        code = subprocess.run([sys.executable, "-c", KILLED, store.url, str(changes)], check=False).returncode
        forget(store, "anna")
        assert b"anna" not in everything(store)
        reached.add((tuple(store.digests()), tuple(store.cohorts())))
        assert not any(list((Path(store.url) / name).iterdir()) for name in ("erasing", "tmp"))
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert changes > 10
    assert len(reached) == 1
