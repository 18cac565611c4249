"""Bad input is refused with exit code 2: the file, the field and the way out are named, and no patient is."""

from __future__ import annotations

import html.parser
import io
import json
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from bedside.cli import main
from bedside.cohort.digest import sha256_hex
from bedside.cohort.workspace import Workspace
from bedside.evidence.keys import load_or_create_key, trusted_keys
from bedside.models.digest import read_listing, write_listing
from bedside.plan.release.layout import SIGNATURE
from bedside.plan.release.publish import seal
from bedside.plan.release.verify import verify_release

NAMES = ["Meyer", "Okafor", "Wang", "Nowak"]
IDENTITY = re.compile("MRN[0-9]|" + "|".join(NAMES))


@dataclass(frozen=True)
class Said:
    """What a command ended with and printed."""

    code: object
    out: str
    err: str


Bedside = Callable[..., Said]


@pytest.fixture
def bedside(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bedside:
    """The command line, called as the entry point calls it; what it does not turn into an exit is a traceback."""

    def call(*arguments: object) -> Said:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["bedside", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Said(ended.value.code, *capsys.readouterr())

    return call


def patients(n: int = 240, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    age = rng.integers(20, 90, n)
    return pl.DataFrame(
        {
            "patient": [f"MRN{i:07d}" for i in range(n)],
            "name": [f"{NAMES[i % 4]} {i}" for i in range(n)],
            "age": age,
            "lactate": rng.lognormal(0.5, 0.4, n).round(2),
            "sex": rng.choice(["female", "male"], n),
            "died": (rng.random(n) < 1 / (1 + np.exp(-(age - 60) / 10))).astype(int),
        }
    )


PLAN: dict[str, Any] = {
    "plan": 1,
    "name": "bad",
    "cohort": {"path": "data.csv", "subject": "patient", "ignore": ["name"]},
    "task": {"classify": "died"},
    "split": {"test": 0.3, "seed": 1},
    "model": "logistic",
    "checks": ["performance"],
    "gates": {"auroc": 0.6},
    "release": {"as": "bad", "stage": "assist"},
}


def with_value(name: str, row: int, value: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    def change(table: pl.DataFrame) -> pl.DataFrame:
        values = table[name].cast(pl.String).to_list()
        values[row] = value
        return table.with_columns(pl.Series(name, values))

    return change


def with_columns(**columns: Any) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda table: table.with_columns(**columns)


def zoned(table: pl.DataFrame) -> pl.DataFrame:
    at = ["2020-01-01T10:00:00Z" if i % 2 else "2020-01-01 10:00" for i in range(table.height)]
    return table.with_columns(admitted=pl.Series(at))


def cohort(**parameters: Any) -> dict[str, Any]:
    return {"cohort": {**PLAN["cohort"], **parameters}}


TABLES: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], Mapping[str, Any], list[str]]] = {
    "wrong target": (lambda t: t, {"task": {"classify": "dead"}}, ["plan.yaml, line", "'dead'", "died"]),
    "wrong role": (lambda t: t, cohort(time="admitted"), ["plan.yaml, line", "data.csv", "'admitted'"]),
    "wrong group": (lambda t: t, {"checks": [{"subgroups": {"by": ["race"]}}]}, ["'race'", "sex"]),
    "a name as target": (lambda t: t, {**cohort(ignore=[]), "task": {"classify": "name"}}, ["'name'", "classes"]),
    "few names as target": (
        lambda t: t.head(60),
        {**cohort(ignore=[]), "task": {"classify": "name", "positive": "yes"}},
        ["'name'", "60 values"],
    ),
    "text in a number": (
        with_value("lactate", 7, "Meyer 1.2.1950"),
        cohort(fields={"lactate": "number"}),
        ["plan.yaml, line", "data.csv", "'lactate'", "row 8", "missing"],
    ),
    "one class": (with_columns(died=pl.lit(1)), {}, ["plan.yaml, line", "'died'", "one class"]),
    "three patients": (lambda t: t.head(3), {}, ["plan.yaml, line", "3 subjects", "collect more"]),
    "all of the target missing": (with_columns(died=pl.lit(None)), {}, ["plan.yaml, line", "'died'", "missing"]),
    "row ids twice": (
        with_columns(row=pl.lit("MRN1")),
        cohort(row_id="row"),
        ["plan.yaml, line", "data.csv", "'row'", "239 row(s)", "row_id"],
    ),
    "mixed time zones": (zoned, {}, ["data.csv", "'admitted'", "mixed time zones", "zone: UTC"]),
    "a number for classes": (lambda t: t, {"task": {"classify": "lactate"}}, ["'lactate'", "regress"]),
    "classes for a number": (
        lambda t: t,
        {"task": {"regress": "sex"}, "model": "ridge", "gates": {"mae": 1.0}},
        ["'sex'", "category", "classify"],
    ),
    "an unknown step": (lambda t: t, {"steps": ["imputee"]}, ["plan.yaml, line", "'imputee'", "impute"]),
    "an unknown key": (lambda t: t, {"colour": "red"}, ["plan.yaml, line", "colour", "known keys"]),
    "costs of nothing": (
        lambda t: t,
        {"task": {"classify": "died", "costs": {"false_negative": 0, "false_positive": 1}}},
        ["plan.yaml, line", "costs"],
    ),
    "a threshold by costs without costs": (lambda t: t, {"threshold": "cost"}, ["plan.yaml, line", "costs"]),
    "an unknown way to calibrate": (lambda t: t, {"calibrate": {"auto": "platt"}}, ["(calibrate)", "sigmoid"]),
    "an unknown threshold": (lambda t: t, {"threshold": "youdenn"}, ["(threshold)", "youden"]),
    "a threshold for a number": (
        lambda t: t,
        {"task": {"regress": "lactate"}, "model": "ridge", "gates": {}, "threshold": 0.5},
        ["plan.yaml, line", "threshold", "regress"],
    ),
}


def refused(said: Said, *wanted: str) -> None:
    assert said.code == 2, said
    assert "Traceback" not in said.err
    assert said.err.splitlines()[-1].lstrip().startswith("→"), "an error says the way out"
    for each in wanted:
        assert each in said.err, said.err
    assert not IDENTITY.search(said.out + said.err), "a patient is named"


def written(folder: Path, table: pl.DataFrame, plan: Mapping[str, Any]) -> Path:
    table.write_csv(folder / "data.csv")
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(dict(plan), sort_keys=False, allow_unicode=True))
    return path


@pytest.mark.parametrize("case", TABLES)
def test_a_run_refuses(bedside: Bedside, tmp_path: Path, case: str) -> None:
    change, plan, wanted = TABLES[case]
    path = written(tmp_path, change(patients()), {**PLAN, **plan})
    refused(bedside("run", path, "--home", tmp_path / "home", "--threads", 1), *wanted)
    assert not list((tmp_path / "home" / "releases").glob("*"))


def test_a_refusal_is_the_same_from_a_shell(tmp_path: Path) -> None:
    path = written(tmp_path, patients(), {**PLAN, "task": {"classify": "dead"}})
    done = subprocess.run(
        [sys.executable, "-m", "bedside", "run", str(path), "--home", str(tmp_path / "home")],
        capture_output=True,
        text=True,
    )
    refused(Said(done.returncode, done.stdout, done.stderr), "plan.yaml, line", "'dead'")


def test_a_column_without_any_value_is_no_hindrance(bedside: Bedside, tmp_path: Path) -> None:
    path = written(tmp_path, patients().with_columns(lactate=pl.lit(None)), PLAN)
    said = bedside("run", path, "--home", tmp_path / "home", "--threads", 1)
    assert said.code == 0, said.err
    assert "lactate" in said.out, "that it taught nothing is said"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plan: 1\nname: x\n cohort: {", ["plan.yaml, line 3", "not valid YAML"]),
        ("plan: 1\nname: x\nname: y\n", ["plan.yaml, line 3", "twice"]),
        ("- plan\n", ["plan.yaml", "mapping"]),
        ("plan: 1\nname: ../../x\n", ["plan.yaml, line 2", "name"]),
        ("{{", ["plan.yaml", "not valid YAML"]),
    ],
    ids=["indented", "twice", "a list", "a path for a name", "braces"],
)
def test_a_malformed_plan_is_refused_with_the_line(
    bedside: Bedside, tmp_path: Path, text: str, wanted: list[str]
) -> None:
    (tmp_path / "plan.yaml").write_text(text)
    refused(bedside("run", tmp_path / "plan.yaml", "--home", tmp_path / "home"), *wanted)


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n", b"a,b\n1\n2,3,4\n", None], ids=["empty", "png", "ragged", "none"]
)
def test_a_file_that_is_no_table_is_refused(bedside: Bedside, tmp_path: Path, content: bytes | None) -> None:
    path = written(tmp_path, patients(), PLAN)
    if content is None:
        (tmp_path / "data.csv").unlink()
    else:
        (tmp_path / "data.csv").write_bytes(content)
    refused(bedside("run", path, "--home", tmp_path / "home"), "data.csv", "plan.yaml, line")


def wide(columns: int, rows: int = 60) -> pl.DataFrame:
    x = np.random.default_rng(0).standard_normal((rows, columns))
    genes = {f"gene {i}": x[:, i] for i in range(columns)}
    return pl.DataFrame({"patient": [f"MRN{i}" for i in range(rows)], "died": [i % 2 for i in range(rows)], **genes})


@pytest.mark.parametrize("columns", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_many_columns_of_few_patients_do_not_pass(bedside: Bedside, tmp_path: Path, columns: int) -> None:
    """Pure noise in 60 patients: the run ends, in seconds, with a penalised model that nothing is claimed for."""
    plan = {**PLAN, "cohort": {"path": "data.csv", "subject": "patient"}, "model": "lasso", "gates": {"auroc": 0.75}}
    said = bedside("run", written(tmp_path, wide(columns), plan), "--home", tmp_path / "home", "--threads", 1)
    assert said.code == 3, said.err
    assert "not enough evidence" in said.out or "fail" in said.out


# -- assess -----------------------------------------------------------------------------------------------------------


def predictions(n: int = 120) -> pl.DataFrame:
    table = patients(n)
    return table.with_columns(p=pl.Series(np.random.default_rng(1).random(n).round(3)))


ASSESSED: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], list[str], list[str]]] = {
    "wrong truth": (lambda t: t, ["--truth", "dead"], ["'dead'", "died"]),
    "wrong score": (lambda t: t, ["--score", "prob"], ["'prob'", "fields"]),
    "wrong group": (lambda t: t, ["--groups", "sex,race"], ["'race'"]),
    "text in the score": (with_value("p", 3, "Meyer"), [], ["'p'", "number"]),
    "an empty score": (with_value("p", 3, ""), [], ["'p'", "1 empty"]),
    "no probability": (with_value("p", 3, "1.5"), [], ["'p'", "1.5", "[0, 1]"]),
    "no truth": (with_columns(died=pl.lit(None)), [], ["'died'", "empty"]),
    "one class": (with_columns(died=pl.lit(1)), [], ["'died'", "one class"]),
    "a name as truth": (lambda t: t.head(40), ["--truth", "name", "--positive", "yes"], ["'name'", "40 values"]),
    "three classes": (
        lambda t: t.with_columns(died=pl.Series([str(i % 3) for i in range(t.height)])),
        [],
        ["'died'", "3 classes", "class=column"],
    ),
    "mixed time zones": (zoned, ["--time", "admitted"], ["'admitted'", "mixed time zones"]),
    "no time": (lambda t: t, ["--time", "sex"], ["'sex'", "ISO 8601"]),
    "a gate of nothing": (lambda t: t, ["--gate", "auroc>=high"], ["auroc>=high", "metric>=number"]),
    "a gate twice": (lambda t: t, ["--gate", "auroc>=0.5", "--gate", "auroc>=0.6"], ["'auroc'", "twice"]),
    "an unknown metric": (lambda t: t, ["--gate", "beauty>=0.5"], ["'beauty'", "glossary"]),
    "half a mapping": (lambda t: t, ["--score", "0=p,1"], ["0=p,1", "class=column"]),
    "a threshold beyond": (lambda t: t, ["--threshold", "5"], ["threshold 5"]),
}


@pytest.mark.parametrize("case", ASSESSED)
def test_assess_refuses(bedside: Bedside, tmp_path: Path, case: str) -> None:
    change, options, wanted = ASSESSED[case]
    change(predictions()).write_csv(tmp_path / "preds.csv")
    given = {"--truth": "died", "--score": "p", **dict(zip(options[::2], options[1::2], strict=True))}
    repeated = [each for pair in zip(options[::2], options[1::2], strict=True) if pair[0] == "--gate" for each in pair]
    single = [each for pair in given.items() if pair[0] != "--gate" for each in pair]
    said = bedside("assess", tmp_path / "preds.csv", *single, *repeated, "--out", tmp_path / "out")
    refused(said, *wanted)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rows", [3, 8])
def test_a_handful_of_predictions_is_judged_as_not_enough(bedside: Bedside, tmp_path: Path, rows: int) -> None:
    predictions().head(rows).with_columns(died=pl.Series([i % 2 for i in range(rows)])).write_csv(
        tmp_path / "preds.csv"
    )
    arguments = ["--truth", "died", "--score", "p", "--gate", "auroc>=0.8", "--out", tmp_path / "out"]
    said = bedside("assess", tmp_path / "preds.csv", *arguments)
    assert said.code == 3 and "not enough evidence" in said.out, said
    assert not IDENTITY.search(said.out + said.err)


def test_a_number_is_assessed_and_both_sides_of_a_gate_count(bedside: Bedside, tmp_path: Path) -> None:
    table = predictions().with_columns(guess=pl.col("lactate") * 0.9)
    table.write_csv(tmp_path / "preds.csv")
    arguments = ["--truth", "lactate", "--score", "guess", "--regress", "--out", tmp_path / "out"]
    said = bedside("assess", tmp_path / "preds.csv", *arguments, "--gate", "bias>=-0.1", "--gate", "bias<=0.1")
    assert said.code == 3 and "bias>=-0.1<=0.1" in said.out, said


# -- a release from somebody else --------------------------------------------------------------------------------------


class Evil:
    """What unpickling would run."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.marker,)


def skops_with_a_pickle(marker: Path) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("object.pkl", pickle.dumps(Evil(marker)))
        schema = {"__class__": "LogisticRegression", "__module__": "sklearn", "__loader__": "ObjectNode", "content": {}}
        members.writestr("schema.json", json.dumps(schema))
    return archive.getvalue()


@pytest.mark.parametrize("form", ["a pickle", "an archive that holds one"])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed again"])
def test_a_model_file_with_a_pickle_inside_is_never_loaded(
    bedside: Bedside, release: Path, home: Path, tmp_path: Path, form: str, signed: bool
) -> None:
    folder = Path(shutil.copytree(release, tmp_path / "release"))
    marker = tmp_path / "marker"
    file = folder / "model" / "model" / "estimator.skops"
    file.write_bytes(pickle.dumps(Evil(marker)) if form == "a pickle" else skops_with_a_pickle(marker))
    trusted = trusted_keys(Workspace(home).keys)
    if signed:  # by a key that is trusted here, with every listing put right
        for listing, name in (("model/model/model.json", file.name), ("model/pipeline.json", f"model/{file.name}")):
            content = read_listing(folder / listing)
            content["files"][name] = sha256_hex(file.read_bytes())
            if listing == "model/pipeline.json":
                content["files"]["model/model.json"] = sha256_hex((folder / "model/model/model.json").read_bytes())
            write_listing(folder / listing, content, "model")
        (folder / SIGNATURE).unlink()
        seal(folder, "small", load_or_create_key(Workspace(home).keys, "local"))
    verification = verify_release(folder, trusted)
    failed = [each for each in verification.answers if each.result == "fail"]
    assert [each.id for each in failed] == ["verify_golden" if signed else "verify_integrity"]
    assert "estimator.skops" in failed[0].detail
    refused(bedside("predict", folder, "--example", "--home", home), "estimator.skops", "get the")
    assert bedside("verify", folder, "--home", home).code == 1
    assert not marker.exists()


def test_a_release_of_a_stranger_is_loaded_only_when_asked(bedside: Bedside, release: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "home"
    refused(bedside("predict", release, "--example", "--home", elsewhere), "unknown signer", "--untrusted")
    patients().write_csv(tmp_path / "data.csv")
    refused(bedside("validate", release, tmp_path / "data.csv", "--home", elsewhere), "unknown signer", "--untrusted")
    assert bedside("predict", release, "--example", "--untrusted", "--home", elsewhere).code == 0


@pytest.mark.parametrize("verb", ["verify", "predict", "report", "compare"])
def test_a_folder_that_is_no_release_is_refused(bedside: Bedside, release: Path, tmp_path: Path, verb: str) -> None:
    more = {"predict": ["--example"], "compare": [release]}.get(verb, [])
    home = [] if verb == "compare" else ["--home", tmp_path / "home"]
    refused(bedside(verb, tmp_path, *more, *home), str(tmp_path), "bedside run")


# -- names that would be markup, paths, terminal commands -------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a'b\"c`d",
    "new\nline",
    "\u202eevil",
    "\x1b[31mred",
    "../../x",
    "[/bold]x",
    "{0.__class__}",
    "x=y,z",
    "n" * 10_000,
]
CLASSES = ["<b>one</b>", "../../two", "[red]three\u202e\n"]


class Tags(html.parser.HTMLParser):
    """The tags and attribute names of a page, and how many scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts = 0
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.attributes |= {name for name, _ in attrs}


def test_hostile_names_are_shown_as_text_and_never_become_paths(bedside: Bedside, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, len(HOSTILE)))
    chosen = (x[:, :3] * 2 + rng.gumbel(size=(400, 3))).argmax(axis=1)
    table = pl.DataFrame(
        {
            "who": [f"MRN{i:06d}" for i in range(400)],
            **{name: x[:, i] for i, name in enumerate(HOSTILE)},
            "<u>target\n": [CLASSES[i] for i in chosen],
            "[b]group": rng.choice(["<i>f", "[/]m", '"'], 400),
        }
    )
    table.write_parquet(tmp_path / "data.parquet")
    plan = {
        **PLAN,
        "cohort": {"path": "data.parquet", "subject": "who"},
        "task": {"classify": "<u>target\n"},
        "checks": ["performance", "calibration", {"subgroups": {"by": ["[b]group"]}}, "missingness"],
        "gates": {"auroc_macro": 0.5},
    }
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan, sort_keys=False, allow_unicode=True))
    home = tmp_path / "home"
    said = bedside("run", tmp_path / "plan.yaml", "--home", home, "--threads", 1)
    assert said.code == 0, said.err
    (release,) = (home / "releases").iterdir()
    for file in release.rglob("*"):
        assert re.fullmatch(r"[A-Za-z0-9_.-]+", file.name), file
    assert {path.name for path in home.iterdir()} >= {"releases", "runs"} and not (tmp_path / "x").exists()

    page = (release / "report.html").read_text(encoding="utf-8")
    tags = Tags(page)
    assert tags.scripts == 1 and not {name for name in tags.attributes if name.startswith("on")}
    for raw in ("<script>alert", "<img src", "<b>one", "<i>f", "<u>target", "\u202e", "\x1b"):
        assert raw not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    card = (release / "card.md").read_text(encoding="utf-8")
    assert "\u202e" not in card and "<script>" not in card

    shown = [
        bedside("verify", release, "--home", home),
        bedside("predict", release, "--example", "--home", home),
        bedside("predict", release, tmp_path / "data.parquet", "--home", home),
        bedside("report", release, "--out", tmp_path / "again.html", "--home", home),
        bedside("compare", release, release),
        bedside("cohort", "show", tmp_path / "data.parquet"),
    ]
    assert [each.code for each in shown] == [0] * 6, shown
    assert not any("\x1b" in each.out or "\u202e" in each.out for each in [said, *shown])
    # a wrong name is told back: also that may act on a terminal
    again = {**plan, "task": {"classify": "\x1b[2Jnothing"}}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(again, sort_keys=False, allow_unicode=True))
    told = bedside("run", tmp_path / "plan.yaml", "--home", home)
    assert told.code == 2 and "\x1b" not in told.err and len(told.err) < 10_000


def test_a_table_that_is_not_there_is_said_to_be_missing(bedside: Bedside, tmp_path: Path) -> None:
    told = bedside("cohort", "show", tmp_path / "gone.csv")
    assert told.code == 2 and "gone.csv: there is no such file" in told.err.replace("\n", "")
