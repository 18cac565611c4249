"""The store: what is put is got back, verified; nothing else is."""

from __future__ import annotations

import json
import shutil
import uuid
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.cohort import EVENT_COLUMNS, Cohort, Field, Origin, Store, sha256_hex
from bedside.errors import BedsideError, DataError, IntegrityError

FROZEN = Path(__file__).parents[1] / "fixtures" / "store_format_1"
FROZEN_COHORT = "403eda07f8f5fa78d4527619f18f5320248b6fb6a1c8c623dc2f8bcda17cdfbd"


def frozen_cohort() -> Cohort:
    """The cohort in the frozen fixture (written once by bedside 0.1)."""
    fields = [
        Field("age", "number", unit="a", low=0, high=120, description="at admission"),
        Field("ward", "category", ("site",), levels=("外科", "IMC")),
        Field("dead", "boolean", ("target",)),
        Field("at", "time", ("time",)),
        Field("xray", "image"),
    ]
    columns = {
        "age": [54.5, None, 31.0],
        "ward": ["外科", "IMC", None],
        "dead": [True, False, None],
        "at": [datetime(2020, 2, 29, 13, 5, 7, 250), None, datetime(1969, 12, 31)],
        "xray": [sha256_hex(b"pixels"), None, None],
    }
    table = Cohort.of(columns, fields, subject=["p1", "p1", "p2"], row_id=["r1", "r2", "r3"], name="frozen")
    events = pl.DataFrame([("p1", datetime(2020, 2, 29), "LAB//K", 4.1, None)], schema=EVENT_COLUMNS, orient="row")
    origin = Origin("read", {"reader": "tables", "missing": ["", "NA"]}, (sha256_hex(b"file"),))
    return Cohort(table.schema, table.frame, events, (origin,))


def table(rows: int = 1000, name: str = "table") -> Cohort:
    rng = np.random.default_rng(rows)
    columns = {"x": rng.normal(size=rows), "y": rng.random(rows) < 0.3}
    subject = [f"s{i // 2}" for i in range(rows)]
    return Cohort.of(columns, [Field("x", "number"), Field("y", "boolean", ("target",))], subject=subject, name=name)


def same(a: Cohort, b: Cohort) -> bool:
    if a.events is None or b.events is None:
        events = a.events is b.events
    else:
        events = a.events.equals(b.events)
    return events and a.schema == b.schema and a.frame.equals(b.frame) and a.lineage == b.lineage


@pytest.fixture(params=["path", "file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    urls = {"path": str(tmp_path / "s"), "file": f"file://{tmp_path}/s", "memory": f"memory://{uuid.uuid4()}/s"}
    return Store(urls[request.param])


def test_bytes_round_trip(store: Store) -> None:
    assert store.digests() == []
    digest = store.put(b"abc")
    # FIPS 180-2, appendix B.1
    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert store.put(b"abc") == digest
    assert store.has(digest) and store.get(digest) == b"abc" and store.peek(digest, 2) == b"ab"
    assert store.path_of(digest).endswith(f"objects/ba/{digest}")
    empty = store.put(b"")
    assert store.digests() == [digest, empty]
    with store.open(digest) as stream:
        assert stream.read(1) == b"a"


def test_many_are_put_at_once(store: Store) -> None:
    store.put(b"1")
    data = [str(i % 700).encode() for i in range(1000)]  # more than a batch, some of them twice
    digests = store.put_all(data)
    assert [store.get(digest) for digest in digests] == data
    assert len(store.digests()) == 700 and store.put_all([]) == []
    assert store.sweep() == 0


def test_a_file_is_streamed_in(store: Store, tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(3 << 20)
    source = tmp_path / "big.bin"
    source.write_bytes(data)
    assert store.get(store.put_file(source)) == data
    assert source.exists()
    with pytest.raises(DataError, match=r"none\.bin cannot be read"):
        store.put_file(tmp_path / "none.bin")


def test_json_round_trip_is_canonical(store: Store) -> None:
    digest = store.put_json({"b": [1, 2.5, None], "a": "中"})
    assert store.get(digest) == '{"a":"中","b":[1,2.5,null]}'.encode()
    assert store.get_json(digest) == {"b": [1, 2.5, None], "a": "中"}


def test_what_is_deleted_is_gone(store: Store) -> None:
    digest = store.put(b"abc")
    store.delete(digest)
    store.delete(digest)
    assert not store.has(digest) and store.digests() == []
    with pytest.raises(IntegrityError, match="not in the store"):
        store.get(digest)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "ab" * 32 + "\n", "ab" * 31])
def test_a_name_that_is_no_digest_is_refused(store: Store, digest: str) -> None:
    for method in (store.get, store.has, store.delete, store.get_cohort, store.path_of):
        with pytest.raises(BedsideError, match="not a digest"):
            method(digest)


def test_cohort_round_trip(store: Store) -> None:
    cohort = frozen_cohort()
    assert not store.has_cohort(cohort.digest)
    assert store.put_cohort(cohort) == cohort.digest
    assert store.put_cohort(cohort) == cohort.digest
    assert store.has_cohort(cohort.digest) and store.cohorts() == [cohort.digest]
    assert same(store.get_cohort(cohort.digest), cohort)
    assert same(store.get_cohort(cohort.digest, check=False), cohort)
    assert store.subjects(cohort.digest).sort().to_list() == ["p1", "p2"]


def test_rows_stay_in_order_over_row_groups(store: Store) -> None:
    cohort = table(300_000)
    assert same(store.get_cohort(store.put_cohort(cohort)), cohort)


def test_an_empty_cohort_round_trips(store: Store) -> None:
    cohort = table().take([])
    assert same(store.get_cohort(store.put_cohort(cohort)), cohort)


def test_the_same_content_by_two_ways_keeps_both_lineages(store: Store) -> None:
    cohort = table()
    ways = [cohort.with_origin(Origin("read", {"path": name})) for name in ("a.csv", "b.csv")]
    assert len({store.put_cohort(way) for way in ways}) == 1
    assert sorted(line[0].parameters["path"] for line in store.lineages(cohort.digest)) == ["a.csv", "b.csv"]
    assert len(store.digests()) == 3  # one table, two manifests
    assert store.get_cohort(cohort.digest).digest == cohort.digest


TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
CELLS = {
    "number": st.none() | st.floats(allow_nan=False),
    "boolean": st.none() | st.booleans(),
    "category": st.none() | TEXT,
    "text": st.none() | TEXT,
    "time": st.none() | st.datetimes(datetime(1000, 1, 1), datetime(3000, 1, 1)),
}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_cohort_round_trips(data: st.DataObject) -> None:
    rows = data.draw(st.integers(0, 12))
    kinds = data.draw(st.lists(st.sampled_from(sorted(CELLS)), max_size=5))
    cells = {f"f{i}": data.draw(st.lists(CELLS[kind], min_size=rows, max_size=rows)) for i, kind in enumerate(kinds)}
    fields = [Field(f"f{i}", kind) for i, kind in enumerate(kinds)]  # type: ignore[arg-type]
    subject = data.draw(st.lists(TEXT, min_size=rows, max_size=rows))
    types = {"number": pl.Float64, "boolean": pl.Boolean, "time": pl.Datetime("us")}
    frame = pl.DataFrame(
        {"_": pl.Series([None] * rows, dtype=pl.Null)}
        | {item.name: pl.Series(cells[item.name], dtype=types.get(item.kind, pl.String)) for item in fields}
    )
    cohort = Cohort.of(frame, fields, subject=pl.Series(subject, dtype=pl.String))
    store = Store(f"memory://{uuid.uuid4()}")
    assert same(store.get_cohort(store.put_cohort(cohort)), cohort)


def damage(store: Store, digest: str, position: int) -> None:
    path = Path(store.path_of(digest))
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 1
    path.write_bytes(bytes(data))


def test_a_flipped_bit_anywhere_in_a_cohort_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = store.put_cohort(frozen_cohort())
    objects = store.digests()
    assert len(objects) == 3  # table, events, manifest
    rng = np.random.default_rng(1)
    for item in objects:
        for position in rng.integers(0, 1 << 20, size=10):
            damage(store, item, int(position))
            with pytest.raises(IntegrityError, match="changed or damaged"):
                store.get_cohort(digest, check=False)
            damage(store, item, int(position))
    assert same(store.get_cohort(digest), frozen_cohort())


def test_damage_is_healed_by_putting_the_bytes_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = store.put(b"abcdef")
    damage(store, digest, 3)
    assert store.put(b"abcdef") == digest
    assert store.get(digest) == b"abcdef"


def test_a_manifest_that_lies_about_its_content_is_found_unless_the_check_is_waived(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = store.put_cohort(table())
    other = table(10).digest
    [key] = [item for item in store.digests() if store.peek(item, 1) == b"{"]
    forged = store.put_json({**store.get_json(key), "digest": other})
    marker = tmp_path / "cohorts" / other / forged
    marker.parent.mkdir()
    marker.write_bytes(b"1\n")
    with pytest.raises(IntegrityError, match="has other content"):
        store.get_cohort(other)
    marker.rename(tmp_path / "cohorts" / digest / forged)
    with pytest.raises(IntegrityError, match="describes another cohort"):
        store.get_cohort(digest)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = store.put_cohort(table())
    [key] = [item for item in store.digests() if store.peek(item, 1) == b"{"]
    newer = store.put_json({**store.get_json(key), "format": 2})
    (tmp_path / "cohorts" / digest / key).rename(tmp_path / "cohorts" / digest / newer)
    with pytest.raises(DataError, match="format 2 is not known"):
        store.get_cohort(digest)


def test_a_missing_cohort_is_said(store: Store) -> None:
    with pytest.raises(IntegrityError, match="not in the store"):
        store.get_cohort("0" * 64)


def test_erasing_a_cohort_leaves_what_others_share(store: Store) -> None:
    first = table(name="first")
    second = Cohort(table(name="second").schema, first.frame)  # another schema, the same table bytes
    for cohort in (first, second):
        store.put_cohort(cohort)
    removed = store.erase(cohorts=[first.digest])
    assert len(removed) == 1  # its manifest only
    assert not store.has_cohort(first.digest)
    assert same(store.get_cohort(second.digest), second)
    assert len(store.erase(cohorts=[second.digest])) == 2
    assert store.digests() == []


def test_an_interrupted_erasure_is_finished_by_sweep(store: Store) -> None:
    digest = store.put_cohort(table())
    store.put(b"stays")
    finish, store._finish_erasing = store._finish_erasing, lambda: []  # type: ignore[method-assign]  # a kill right here
    store.erase(cohorts=[digest])
    store._finish_erasing = finish  # type: ignore[method-assign]
    assert store.has_cohort(digest)
    assert store.sweep() == 2
    assert store.sweep() == 0
    assert not store.has_cohort(digest) and store.digests() == [sha256_hex(b"stays")]


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(BedsideError, match="cannot open the store"):
        Store("nowhere://bucket/x")


def test_the_frozen_store_of_format_1_still_reads(tmp_path: Path) -> None:
    """Written by bedside 0.1, polars 2.1; never to be rewritten."""
    copy = tmp_path / "store"
    shutil.copytree(FROZEN, copy)
    store = Store(copy)
    assert store.cohorts() == [FROZEN_COHORT]
    assert same(store.get_cohort(FROZEN_COHORT), frozen_cohort())
    assert frozen_cohort().digest == FROZEN_COHORT
    manifest = json.loads(store.get(min(store.digests(), key=lambda item: store.peek(item, 1) != b"{")))
    assert manifest["format"] == 1 and set(manifest) == {
        "format", "digest", "rows", "schema", "table", "events", "lineage",
    }  # fmt: skip
