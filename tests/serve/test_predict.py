"""POST /predict: what the release answers is what is served, in numbers and words, recorded before it is given."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import pytest
from tests.serving import Node

from bedside.evidence.keys import trusted_keys
from bedside.plan.release import contents
from bedside.plan.release.opened import Opened, open_release
from bedside.serve.served import Served

SUBJECT = "MRN-0042-Müller"


def served(node: Node, name: str) -> Served:
    return node.service.registry.state.find(name)


def opened(node: Node, name: str) -> Opened:
    return open_release(served(node, name).opened.folder, trusted_keys(node.service.workspace.keys))


def ask(node: Node, body: Any, role: str = "clinician") -> Any:
    with node.caller(role) as caller:
        answered = caller.post("/predict", json=body)
        assert answered.status_code == 200, answered.text
        return answered.json()


@pytest.mark.parametrize("name", ["linear", "trees"])
def test_served_is_fitted_on_the_golden_rows(node: Node, name: str) -> None:
    release = opened(node, name)
    golden = contents.read_cohort(release.read, "golden/inputs").take(list(range(40)))  # type: ignore[arg-type]
    rows = [
        {k: v.isoformat() if hasattr(v, "isoformat") else v for k, v in row.items() if k in golden.schema}
        for row in golden.frame.iter_rows(named=True)
    ]
    answers = ask(node, {"release": name, "rows": rows})["answers"]
    expected = release.predict(golden).score
    assert [each["row"] for each in answers] == list(range(40))
    assert max(abs(each["prediction"]["probability"] - p) for each, p in zip(answers, expected, strict=True)) < 1e-9


@pytest.mark.parametrize("name", ["linear", "trees"])
def test_contributions_add_up_to_the_score_before_calibration(node: Node, name: str) -> None:
    release = served(node, name)
    (answer,) = ask(node, {"release": name, "row": release.example})["answers"]
    why = answer["explanation"]
    assert why["method"] == {"linear": "terms", "trees": "tree_shap"}[name] and why["scale"] == "log_odds"
    total = why["base"] + sum(each["value"] for each in why["contributions"])
    raw = release.opened.predict(release.opened.row(release.example)).raw_score[0]
    assert math.isclose(1 / (1 + math.exp(-total)), raw, abs_tol=1e-9)
    sizes = [abs(each["value"]) for each in why["contributions"]]
    assert sizes == sorted(sizes, reverse=True)
    assert {each["field"] for each in why["contributions"]} <= set(release.opened.schema.names)


def test_a_verdict_stands_in_words_of_both_languages_beside_its_threshold(node: Node) -> None:
    release = served(node, "linear")
    found = ask(node, {"release": "linear", "row": release.example})
    assert found["release"] == {"name": "linear", "digest": release.digest, "stage": "assist"}
    told = found["answers"][0]["prediction"]
    assert told["threshold"] == release.pipeline.fitted.threshold.value
    flagged = told["probability"] >= told["threshold"]
    assert told["verdict"] == ("flagged" if flagged else "not_flagged")
    assert told["words"]["en"] == ("flagged: " if flagged else "not flagged: ") + "died_in_hospital"
    assert "died_in_hospital" in told["words"]["zh"] and told["words"]["zh"] != told["words"]["en"]
    assert found["answers"][0]["confirm"]["zh"], "at assist a person confirms"


def test_inputs_beyond_training_and_beyond_reason_are_flagged(node: Node) -> None:
    row = {**served(node, "linear").example, "age": 150.0, "creatinine": 2000.0, "sex": "unheard of"}
    flags = {
        (each["field"], each["why"]) for each in ask(node, {"release": "linear", "row": row})["answers"][0]["outside"]
    }
    assert {("age", "above"), ("creatinine", "above"), ("sex", "unseen")} <= flags
    assert ("age", "implausible") in flags
    clean = ask(node, {"release": "linear", "row": served(node, "linear").example})["answers"][0]["outside"]
    assert ("age", "above") not in {(each["field"], each["why"]) for each in clean}


def test_a_table_is_read_as_the_plan_read_its_own(node: Node, tmp_path: Path) -> None:
    image = next((node.service.workspace.home.parent.parent).rglob("blobs/*.png"), None)
    release = served(node, "pictures")
    data = image.read_bytes() if image is not None else base64.b64decode(release.example["image"])
    with node.caller("scientist") as caller:
        raw = caller.post("/try/" + release.digest, content=data, headers={"content-type": "image/png"})
        form = caller.post(f"/try/{release.digest}", files={"file": ("../../etc/passwd", data, "image/png")})
        inline = caller.post(f"/try/{release.digest}", json={"row": {"image": base64.b64encode(data).decode()}})
    values = [each.json()["answers"][0]["prediction"]["probability"] for each in (raw, form, inline)]
    assert values[0] == values[1] == values[2]
    assert raw.json()["answers"][0]["watermark"]["en"], "research is watermarked"


def test_rows_as_csv_are_answered_in_order(node: Node) -> None:
    release = served(node, "linear")
    example = release.example
    names = list(example)
    lines = [",".join(names)]
    for age in (30, 60, 90):
        lines.append(",".join("" if v is None else str(v) for v in {**example, "age": age}.values()))
    with node.caller("clinician") as caller:
        found = caller.post(
            "/predict?release=linear", content="\n".join(lines).encode(), headers={"content-type": "text/csv"}
        )
    assert found.status_code == 200, found.text
    values = [each["prediction"]["probability"] for each in found.json()["answers"]]
    assert len(values) == 3 and values == sorted(values), "older patients die more often in this simulation"


def test_stages_say_who_sees_what(node: Node) -> None:
    row = served(node, "linear").example
    hidden = ask(node, {"release": "quiet", "row": row})["answers"][0]
    assert set(hidden) == {"row", "withheld", "audit"}, "shadow is computed and recorded, never shown"
    recorded = node.service.audit.get(hidden["audit"])
    assert recorded is not None and 0 < recorded["prediction"]["probability"] < 1
    with node.caller("clinician") as caller:
        refused = caller.post("/predict", json={"release": "pictures", "row": {"image": None}})
    assert refused.status_code == 422 and "Try it" in refused.json()["error"]["what"]


def test_the_audit_row_is_durable_and_names_nobody(node: Node) -> None:
    row = {**served(node, "trees").example, "subject": SUBJECT}
    position = ask(node, {"release": "trees", "row": row})["answers"][0]["audit"]
    again = ask(node, {"release": "trees", "row": row})["answers"][0]["audit"]
    first, second = node.service.audit.get(position), node.service.audit.get(again)
    assert first is not None and second is not None
    assert first["subject"] == second["subject"] == node.service.audit.pseudonym(SUBJECT)
    assert first["input"] == second["input"] and len(first["input"]) == 64
    assert (first["kind"], first["stage"], first["account"]) == ("predict", "assist", "clinician")
    everything = json.dumps(dict(first.body))
    assert SUBJECT not in everything and str(row["lactate"]) not in everything
    node.service.audit.verify()
    for file in node.service.workspace.home.rglob("service.sqlite*"):
        assert SUBJECT.encode() not in file.read_bytes()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"release": "linear"}, "either `row` or `rows`"),
        ({"release": "linear", "row": {}}, "lacks the fields"),
        ({"release": "linear", "row": {"colour": 1}}, "unknown fields"),
        ({"row": {}}, "no release is named"),
        ({"release": "linear", "rows": []}, "rows"),
        ({"release": "linear", "row": {}, "secret": 1}, "secret"),
        ({"release": "linear", "rows": [{}] * 1001}, "more than are answered at once"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_way_out(node: Node, body: Any, says: str) -> None:
    with node.caller("clinician") as caller:
        refused = caller.post("/predict", json=body)
    assert refused.status_code == 422 and says in refused.json()["error"]["what"]


def test_a_value_that_is_refused_is_not_repeated(node: Node) -> None:
    with node.caller("clinician") as caller:
        refused = caller.post(
            "/predict", json={"release": "linear", "row": {**served(node, "linear").example, "age": SUBJECT}}
        )
    assert refused.status_code == 422 and "'age' is a number" in refused.text
    assert "MRN" not in refused.text


def test_an_unknown_release_is_not_there(node: Node) -> None:
    with node.caller("clinician") as caller:
        assert caller.post("/predict", json={"release": "nothing", "row": {}}).status_code == 404
