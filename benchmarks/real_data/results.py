"""Runs every recipe on real data through the command line and writes what came of it into docs/results.md.

    python benchmarks/real_data/results.py --data ../shared/data --work DIR [--only pima golub-leukaemia] [--write]

Each recipe is carried out as a user would: the plan beside its table, `bedside run`, the same again (all remembered),
`bedside verify`. Without --write the tables are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from datasets import golub, physionet2012

from bedside.evidence.estimate import Estimate, Evidence
from bedside.evidence.gates import Judgement
from bedside.evidence.glossary import term, text
from bedside.evidence.report.numbers import estimate_text, plain
from bedside.synth.admissions import simulate
from bedside.synth.export import write_csv

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "results.md"
BEGIN, END = "<!-- real data: begin -->\n", "<!-- real data: end -->\n"
# What was decided after held-out results had been seen. Whoever changes a recipe after a run adds a line.
AFTERWARDS = (
    "**PhysioNet 2012**: `calibrate: sigmoid` was chosen after a run without it had shown an observed : "
    "expected ratio of 1.15 (1.07–1.23) and a slope of 0.96 (0.88–1.03) on these same patients; AUROC was "
    "0.84 (0.83–0.86) then too, and the three gates passed. The calibration figures below are therefore "
    "optimistic; no second set of patients confirms them.",
    "**Diabetes-130**: age went from ten bands to numbers cut at 40, 60 and 80 after the youngest band had "
    "proved too small to judge. `calibrate: sigmoid` was then set to treat both boosted models alike; "
    "without it the slope was 1.02 (0.96–1.08). AUROC, and the gate that fails, were the same each time.",
    "**Wisconsin**: a first plan joined equal rows into one patient (AUROC 0.980, slope 2.71); since all "
    "inputs are scores of 1 to 10, that was dropped (0.990, slope 2.79). These slopes led to a defect in our "
    "sigmoid calibrator, which a forest's exact zeros flattened; with the mended one, all else equal, the "
    "slope is 1.46. The defect was found on this table, so the table is no independent test of the repair.",
    "**Simulated admissions**: the simulator's coefficients were set, over three rounds, so that prevalence "
    "is 8–10 % and a plain model reaches an AUROC of .85–.88. That it reaches `assist` shows that the "
    "machinery works, and nothing about medicine.",
    "Pima, Cleveland and Golub stand as first written.",
)
VERDICTS = {"pass": "✓ pass", "fail": "✕ fail", "not_enough": "? not enough evidence"}


@dataclass(frozen=True)
class Source:
    """A recipe, what it is in words, and how its table comes to lie beside it."""

    recipe: str
    about: str
    lay: Callable[[Path, Path], None]


def link(file: str) -> Callable[[Path, Path], None]:
    """The file of the data folder itself, under its own name."""

    def lay(data: Path, folder: Path) -> None:
        (folder / Path(file).name).symlink_to((data / file).resolve())

    return lay


SOURCES = (
    Source("demo-admissions", "simulated admissions (the demo)", lambda _, to: _simulated(to)),
    Source("pima", "Pima diabetes", link("ehr/uci_small/pima-indians-diabetes.csv")),
    Source("cleveland-heart", "Cleveland heart disease", link("ehr/heart_cleveland/heart_cleveland_upload.csv")),
    Source("wisconsin-cytology", "Wisconsin breast cytology", link("ehr/uci_small/breast-cancer-wisconsin.csv")),
    Source("diabetes-130", "Diabetes-130, readmission < 30 days", link("ehr/diabetes130/dataset_diabetes.zip")),
    Source(
        "physionet-2012",
        "PhysioNet 2012, death in hospital",
        lambda data, to: _written(write_csv(physionet2012(data), to / "physionet-2012.csv")),
    ),
    Source(
        "golub-leukaemia",
        "Golub leukaemia, 7129 probes",
        lambda data, to: _written(write_csv(golub(data), to / "golub-leukaemia.csv")),
    ),
)


def _simulated(folder: Path) -> None:
    write_csv(simulate(24_000, 7), folder / "admissions.csv")


def _written(_dictionary: Path) -> None:
    return None


@dataclass(frozen=True)
class Result:
    """What a run left behind."""

    source: Source
    facts: Mapping[str, Any]
    stage: str | None
    asked: str
    judgements: Sequence[Judgement]
    evidence: Sequence[Evidence]
    seconds: float
    cpu_seconds: float
    seconds_again: float
    verified: str

    def find(self, metric: str, versus: str | None = None) -> Estimate | None:
        """The estimate of the whole test part."""
        found = (each.find(metric, versus=versus) for each in self.evidence)
        return next((each for each in found if each is not None), None)


def carry_out(source: Source, data: Path, work: Path) -> Result:
    """Lay table and plan down, run, run again, verify."""
    folder, home = work / source.recipe, work / "home"
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    source.lay(data, folder)
    plan = folder / f"{source.recipe}.yaml"
    plan.write_bytes(resources.files("bedside.recipes").joinpath(plan.name).read_bytes())
    before = _cpu_of_children()
    seconds, _ = _bedside("run", plan, "--home", home, codes=(0, 3))
    cpu_seconds = _cpu_of_children() - before
    seconds_again, said = _bedside("run", plan, "--home", home, codes=(0, 3))
    counted = re.search(r"(\d+) actions, (\d+) remembered", said)
    if counted is None or counted[1] != counted[2]:
        sys.exit(f"{source.recipe}: the second run did not remember everything; did a library or the source change?")
    lines = dict(line.split(maxsplit=1) for line in said.splitlines() if line.startswith(("report ", "release ")))
    run_folder = Path(lines["report"]).parent
    summary = json.loads((run_folder / "run.json").read_text(encoding="utf-8"))
    pieces = json.loads((run_folder / "evidence.json").read_text(encoding="utf-8"))
    verified = "no release"
    if "release" in lines:
        _bedside("verify", lines["release"], "--home", home, codes=(0,))
        verified = "verified"
    return Result(
        source,
        summary["facts"],
        summary["judged"]["stage"],
        summary["judged"]["asked"],
        [Judgement.from_json(each) for each in summary["judged"]["judgements"]],
        [Evidence.from_json(each) for each in pieces],
        seconds,
        cpu_seconds,
        seconds_again,
        verified,
    )


def _bedside(*arguments: str | Path, codes: Sequence[int]) -> tuple[float, str]:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "bedside", *map(str, arguments)], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode not in codes:
        sys.exit(f"bedside {' '.join(map(str, arguments))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return seconds, done.stdout


def _cpu_of_children() -> float:
    used = os.times()
    return used.children_user + used.children_system


def number(estimate: Estimate | None, *, n: bool = False) -> str:
    """An estimate as everywhere, or a dash."""
    return "—" if estimate is None else estimate_text(estimate, term(estimate.metric), n=n).replace("\u00a0", " ")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def overview(results: Sequence[Result]) -> str:
    """One line a data set."""
    rows = []
    for each in results:
        auroc, baseline = each.find("auroc"), each.facts["baselines"][0]
        rows.append(
            [
                each.source.about,
                plain(each.facts["rows"]),
                plain(each.facts["subjects"]),
                "—" if auroc is None else f"{plain(auroc.n_events)} of {plain(auroc.n_rows)}",
                each.facts["model"],
                number(auroc),
                f"{number(each.find('auroc', baseline))} ({baseline})",
                number(each.find("calibration_slope")),
                number(each.find("oe_ratio")),
                f"{each.stage or 'none'} (asked: {each.asked})",
                f"{each.seconds:.0f} s ({each.cpu_seconds:.0f} s CPU), then {each.seconds_again:.1f} s",
            ]
        )
    head = ["data", "rows", "patients", "events in test rows", "model", "AUROC", "AUROC minus baseline"]
    return table([*head, "calibration slope", "O : E", "stage", "time"], rows)


def details(result: Result) -> str:
    """Gates and groups of one data set, and what the report warns of."""
    facts = result.facts
    split = facts["split"]
    how = f"{split['folds']} folds" if split["kind"] == "k_fold" else f"hold-out, {split['test']:.0%} of patients"
    out = [f"### {result.source.about}\n"]
    out.append(
        f"Recipe [`{result.source.recipe}.yaml`](../src/bedside/recipes/{result.source.recipe}.yaml); {how}; "
        f"{plain(facts['rows_read'])} rows read, {plain(facts['rows'])} after cleaning; release {result.verified}.\n"
    )
    rows = []
    for each in result.judgements:
        group = "" if each.estimate is None or each.estimate.group is None else f" ({_group(each.estimate)})"
        decides = "" if each.n_deciding is None else f"n ≈ {plain(each.n_deciding)}"
        rows.append([f"`{each.gate.id}`", VERDICTS[each.verdict], number(each.estimate, n=True) + group, decides])
    out.append(table(["gate", "verdict", "estimate that decided", "would decide"], rows))
    groups = [
        [_group(each), plain(each.n_rows), plain(each.n_events), number(each)]
        for piece in result.evidence
        for each in piece.estimates
        if each.metric == "auroc" and each.group is not None and len(each.group) == 1
    ]
    if groups:
        out.append("AUROC of groups (intervals adjusted for the number of groups):\n")
        out.append(table(["group", "n", "events", "AUROC"], groups))
    warned = warnings(result.evidence)
    if warned:
        out.append("The report warns:\n\n" + "\n".join(f"- {each}" for each in warned) + "\n")
    return "\n".join(out)


def warnings(evidence: Sequence[Evidence]) -> list[str]:
    """What is not mere information, at most three sentences of a kind."""
    kinds: dict[str, dict[str, None]] = {}
    for piece in evidence:
        for each in piece.findings:
            if each.severity != "info":
                kinds.setdefault(each.id, {})[text(each.id, "en", **each.values)] = None
    out = []
    for said in kinds.values():
        out += list(said)[:3]
        if len(said) > 3:
            out.append(f"(and {len(said) - 3} more like these three)")
    return out


def _group(estimate: Estimate) -> str:
    return ", ".join(f"{name} {value}" for name, value in (estimate.group or {}).items())


def page(results: Sequence[Result]) -> str:
    """The section of docs/results.md."""
    return "\n".join(
        [
            "## Real data\n",
            "Every line is one recipe of `src/bedside/recipes` carried out by `bedside run` on the table as "
            "it was published. All numbers are of patients that the model did not see (out of fold where the "
            "split has folds), but some recipes were changed after such numbers had been seen: see below. "
            "`not enough evidence` is an answer: beside it stands the n that would decide if the value "
            f"stayed. Times are wall and CPU time on {os.cpu_count()} cores shared with other work: the first "
            "run, then the same again when everything is remembered.\n",
            "```sh\npython benchmarks/real_data/results.py --data DATA --work DIR --write\n```\n",
            overview(results),
            "### Changed after results were seen\n",
            "\n".join(f"- {each}" for each in AFTERWARDS) + "\n",
            *[details(each) for each in results],
        ]
    )


def main() -> None:
    """Run, and print or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of real data")
    parser.add_argument("--work", type=Path, required=True, help="where tables, plans and the workspace are laid")
    parser.add_argument("--only", nargs="+", choices=[each.recipe for each in SOURCES])
    parser.add_argument("--write", action="store_true", help="write the section into docs/results.md")
    given = parser.parse_args()
    chosen = [each for each in SOURCES if given.only is None or each.recipe in given.only]
    made = page([carry_out(each, given.data, given.work) for each in chosen])
    if not given.write:
        print(made)
        return
    before = PAGE.read_text(encoding="utf-8") if PAGE.exists() else f"# Results\n\n{BEGIN}{END}"
    head, rest = before.split(BEGIN)
    tail = rest.split(END)[1]
    PAGE.write_text(f"{head}{BEGIN}\n{made}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
