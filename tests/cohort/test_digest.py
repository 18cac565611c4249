"""The canonical digest: test vectors, an independent reading of the definition, and what must (not) change it."""

from __future__ import annotations

import hashlib
import io
import json
import math
import struct
from datetime import date, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.cohort.digest import WINDOW, canonical_json, column_digest, json_digest, sha256_hex, table_digest

TABLE = pl.DataFrame(
    {
        "row_id": ["a", "b", "c", "d"],
        "age": [54.0, None, -0.0, float("nan")],
        "count": pl.Series([1, None, -3, 2**40], dtype=pl.Int64),
        "dead": [True, None, False, True],
        "ward": ["IMC", "", None, "Chirurgie – 外科"],
        "day": [date(2020, 2, 29), None, date(1969, 12, 31), date(1970, 1, 1)],
        "at": pl.Series(
            [datetime(2020, 2, 29, 13, 5, 7, 250), None, None, datetime(1969, 12, 31)], dtype=pl.Datetime("us")
        ),
    }
)

VECTORS = {
    "row_id": "21afcfcd514bfba53002e17ae4d1c5965a2a32c1c5e09928b330d510284b6d6c",
    "age": "00b33178d2d88a69e31fb4403e88d00f5347f7fee8fda0fa3c10f1818a91979b",
    "count": "2ac18531dc976735955afa70f97a1713301914281d2afa67309440436b34f75f",
    "dead": "f3906b7e1f26975b8bc294ccea07214f3a5ff6d4cbd88b7adf6c4bb9de428559",
    "ward": "ec21f3de4f2d6775e70ad32107a81706e96d65ace211cd86411376b707f57a01",
    "day": "7b837069b3db5656e30133284966fe219ccd122016817d5a3b6cd011ba09c650",
    "at": "d524f203e62a6a541f2fcd2e9b9a18db239ad6a40173002e55c2e38c97d4961e",
}
VECTOR_OF_TABLE = "a9d12f4c6f5a7d6a0036ba88b789bfb4ed123bfbc580c7bbcae7ee4ac1a4f863"


def plain_column_digest(values: list[object], tag: str) -> str:
    """The definition of digest.py, in plain Python: no polars, no numpy."""

    def bits(flags: list[bool]) -> bytes:
        out = bytearray((len(flags) + 7) // 8)
        for i, flag in enumerate(flags):
            out[i // 8] |= flag << (i % 8)
        return bytes(out)

    state = hashlib.sha256(f"bedside.column.1\0{tag}\0{len(values)}\0".encode())
    for start in range(0, len(values), 65_536):
        window = values[start : start + 65_536]
        state.update(bits([value is not None for value in window]))
        if tag == "utf8":
            texts = [b"" if value is None else str(value).encode() for value in window]
            state.update(b"".join(struct.pack("<Q", len(text)) for text in texts))
            state.update(b"".join(texts))
        elif tag == "f8":
            for value in window:
                if value is None or value == 0:
                    state.update(bytes(8))
                elif math.isnan(value):
                    state.update(bytes.fromhex("000000000000f87f"))
                else:
                    state.update(struct.pack("<d", value))
        elif tag == "bool":
            state.update(bits([value is True for value in window]))
        else:
            state.update(b"".join(struct.pack("<q", 0 if value is None else value) for value in window))
    return state.hexdigest()


@pytest.mark.parametrize("name", TABLE.columns)
def test_vectors_of_each_physical_type(name: str) -> None:
    assert column_digest(TABLE[name]) == VECTORS[name]


def test_vector_of_a_table() -> None:
    assert table_digest(TABLE) == VECTOR_OF_TABLE
    tags = ["utf8", "f8", "i8", "bool", "utf8", "days", "us:"]
    columns = [[name, tag, VECTORS[name]] for name, tag in zip(TABLE.columns, tags, strict=True)]
    plain = json.dumps({"columns": columns, "format": 1, "rows": 4}, separators=(",", ":"), sort_keys=True)
    assert hashlib.sha256(plain.encode()).hexdigest() == VECTOR_OF_TABLE


@pytest.mark.parametrize(
    ("dtype", "tag", "values"),
    [
        (pl.Float64, "f8", st.floats(allow_nan=True, allow_infinity=True)),
        (pl.Int64, "i8", st.integers(-(2**63), 2**63 - 1)),
        (pl.Boolean, "bool", st.booleans()),
        (pl.String, "utf8", st.text(max_size=20)),
        (pl.Datetime("us"), "us:", st.integers(-(2**60), 2**60)),
    ],
)
def test_equals_the_definition_in_plain_python(dtype: pl.DataType, tag: str, values: st.SearchStrategy[object]) -> None:
    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.none() | values, max_size=40))
    def check(column: list[object]) -> None:
        series = pl.Series(column, dtype=pl.Int64).cast(dtype) if tag == "us:" else pl.Series(column, dtype=dtype)
        assert column_digest(series) == plain_column_digest(column, tag)

    check()


def test_windows_are_those_of_the_definition() -> None:
    values = [None if i % 7 == 0 else f"v{i}" * (i % 3) for i in range(WINDOW + 11)]
    assert column_digest(pl.Series(values)) == plain_column_digest(values, "utf8")


def large(rows: int = 2 * WINDOW + 123) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    number = pl.Series(rng.normal(size=rows)).set(pl.Series(rng.random(rows) < 0.1), None)
    text = pl.Series(["", "short", "a text that is longer than twelve bytes", None])[rng.integers(0, 4, rows)]
    return pl.DataFrame({"n": number, "t": text, "b": rng.random(rows) < 0.5, "i": rng.integers(0, 9, rows)})


def test_chunks_do_not_matter() -> None:
    whole = large()
    pieces = [whole[:1], whole[1:70_000], whole[70_000:70_001], whole[70_001:]]
    chunked = pl.concat(pieces, rechunk=False)
    assert chunked.n_chunks() == 4
    assert table_digest(chunked) == table_digest(whole)


def test_a_slice_is_digested_as_its_own_values() -> None:
    """A slice shares buffers with its neighbours, at an offset that is no multiple of eight."""
    frame = large(1000)
    for start, length in [(0, 7), (3, 5), (13, 900), (999, 1), (1000, 0)]:
        copied = pl.DataFrame(frame[start : start + length].to_dict(as_series=False), schema=frame.schema)
        assert table_digest(frame.slice(start, length)) == table_digest(copied)


@pytest.mark.parametrize("row_group_size", [10_000, 1_000_000])
@pytest.mark.parametrize("use_pyarrow", [False, True])
def test_the_parquet_writer_does_not_matter(use_pyarrow: bool, row_group_size: int) -> None:
    frame = large()
    buffer = io.BytesIO()
    frame.write_parquet(buffer, use_pyarrow=use_pyarrow, row_group_size=row_group_size)
    buffer.seek(0)
    assert table_digest(pl.read_parquet(buffer)) == table_digest(frame)


def test_an_arrow_round_trip_does_not_matter() -> None:
    frame = large()
    assert table_digest(pl.DataFrame(frame.to_arrow())) == table_digest(frame)


def test_minus_zero_and_the_payload_of_nan_do_not_matter() -> None:
    other_nan = struct.unpack("<d", struct.pack("<Q", 0xFFF8_0000_0000_0001))[0]
    assert column_digest(pl.Series([0.0, float("nan")])) == column_digest(pl.Series([-0.0, other_nan]))


@pytest.mark.parametrize(
    "other",
    [
        pl.DataFrame({"x": [1.0, 2.0, None], "t": ["a", "b", "c"]}),  # a value is missing
        pl.DataFrame({"x": [1.0, 2.0, 3.0000000000000004], "t": ["a", "b", "c"]}),  # one ulp
        pl.DataFrame({"x": [1.0, 2.0, float("nan")], "t": ["a", "b", "c"]}),
        pl.DataFrame({"x": [1.0, 2.0, 3.0], "t": ["a", "b", ""]}),
        pl.DataFrame({"x": [1.0, 2.0, 3.0], "t": ["a", "b", None]}),
        pl.DataFrame({"x": [1.0, 2.0, 3.0], "t": ["ab", "", "c"]}),  # the same bytes, cut elsewhere
        pl.DataFrame({"x": [2.0, 1.0, 3.0], "t": ["b", "a", "c"]}),  # row order
        pl.DataFrame({"t": ["a", "b", "c"], "x": [1.0, 2.0, 3.0]}),  # column order
        pl.DataFrame({"y": [1.0, 2.0, 3.0], "t": ["a", "b", "c"]}),  # a name
        pl.DataFrame({"x": [1, 2, 3], "t": ["a", "b", "c"]}),  # a type
        pl.DataFrame({"x": [1.0, 2.0], "t": ["a", "b"]}),
    ],
)
def test_any_difference_of_content_matters(other: pl.DataFrame) -> None:
    assert table_digest(other) != table_digest(pl.DataFrame({"x": [1.0, 2.0, 3.0], "t": ["a", "b", "c"]}))


def test_empty_and_missing_text_differ() -> None:
    texts = [[""], [None], []]
    assert len({column_digest(pl.Series(item, dtype=pl.String)) for item in texts}) == 3


def test_a_time_zone_matters() -> None:
    local = pl.Series([datetime(2020, 1, 1)], dtype=pl.Datetime("us"))
    assert column_digest(local) != column_digest(local.dt.replace_time_zone("UTC"))


@pytest.mark.parametrize("dtype", [pl.Float32, pl.Int32, pl.Categorical, pl.Datetime("ns"), pl.List(pl.Int64)])
def test_another_type_is_refused_by_name(dtype: pl.DataType) -> None:
    with pytest.raises(TypeError, match="canonical digest"):
        column_digest(pl.Series([], dtype=dtype))


def test_json_is_canonical() -> None:
    # RFC 8785, section 3.2.3, and the number examples of its appendix B
    assert canonical_json({"b": [333333333.33333329, 1e30, 4.5, 2e-3], "a": "€"}) == (
        '{"a":"€","b":[333333333.3333333,1e+30,4.5,0.002]}'.encode()
    )
    assert json_digest({"b": 1, "a": 2}) == json_digest({"a": 2, "b": 1})
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2 B.1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**60])
def test_json_refuses_what_it_cannot_say_exactly(value: float) -> None:
    with pytest.raises(ValueError):
        canonical_json(value)
