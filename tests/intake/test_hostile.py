"""Whatever bytes come in, the answer is a Cohort or a BedsideError."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bedside.cohort.cohort import Cohort
from bedside.errors import BedsideError
from bedside.intake import Tables
from bedside.intake.events import Events

TABLE = 'id,age,sex,when,x\na,50,F,2020-01-01,1.5\nb,?,M,2020-02-01T10:00Z,"2,5"\nc,7,F,,NA\n'
CALM = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def survives(path: Path, content: bytes, **parameters: Any) -> None:
    path.write_bytes(content)
    with contextlib.suppress(BedsideError):
        assert isinstance(Tables(**parameters).read(path), Cohort)


@CALM
@given(content=st.binary(max_size=400))
@pytest.mark.parametrize(
    "start", [b"", b"\x1f\x8b\x08", b"PK\x03\x04", b"PAR1", b"\xd0\xcf\x11\xe0", b"\xff\xfe", b"a,b\n"]
)
def test_random_bytes(tmp_path: Path, start: bytes, content: bytes) -> None:
    survives(tmp_path / "t", start + content)


@CALM
@given(
    content=st.text(alphabet=st.sampled_from("ab1.-,;\t|\"'\n\r 漢é\x1e?:TZ+0"), max_size=200),
    header=st.booleans(),
)
def test_random_tables(tmp_path: Path, content: str, header: bool) -> None:
    survives(tmp_path / "t", content.encode(), header=header)


@CALM
@given(data=st.data())
def test_mutated_tables(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(TABLE.encode())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        content = content or bytearray(b"x")
    survives(tmp_path / "t", bytes(content), subject="id", fields={"age": "number"}, missing=["?"])


WORDS = st.text(alphabet=st.sampled_from("idwhenaluekcor,:;|\"'\n 019.-{}[]é"), max_size=120)


@CALM
@given(content=WORDS, clock=st.sampled_from(["iso", "hh:mm", "hours"]))
def test_random_events(tmp_path: Path, content: str, clock: str) -> None:
    path = tmp_path / "long.csv"
    path.write_text("id,when,code,value\n" + content)
    with contextlib.suppress(BedsideError):
        cohort = Events(subject="id", time="when", clock=clock).read(path)
        assert cohort.events is not None


@CALM
@given(content=WORDS, suffix=st.sampled_from([".csv", ".json", ".yaml"]))
def test_random_dictionaries(tmp_path: Path, content: str, suffix: str) -> None:
    dictionary = tmp_path / f"dictionary{suffix}"
    dictionary.write_text(("name,kind,codes,low\n" if suffix == ".csv" else "") + content)
    survives(tmp_path / "t", TABLE.encode(), dictionary=str(dictionary))


PARAMETERS = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["age", "sex", "id", "x", "number", "kind", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["age", "kind", "roles", "x", "low", "missing"]), inner, max_size=3)
    ),
    max_leaves=6,
)
NAMES = ["fields", "subject", "row_id", "target", "sensitive", "ignore", "columns", "missing", "separator", "quote",
         "decimal", "encoding", "names", "member", "site"]  # fmt: skip


@CALM
@given(parameters=st.dictionaries(st.sampled_from(NAMES), PARAMETERS, max_size=3))
def test_random_declarations(tmp_path: Path, parameters: dict[str, Any]) -> None:
    survives(tmp_path / "t", TABLE.encode(), **parameters)
