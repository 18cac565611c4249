"""How a plan names a plug-in, and what is said when it cannot."""

from __future__ import annotations

import pytest

from bedside.cohort import plugins
from bedside.errors import PlanError


@pytest.mark.parametrize(
    ("spec", "codes"),
    [
        ({"missing_codes": {"codes": {"*": [-9]}}}, {"*": [-9]}),
        ({"missing_codes": {"*": [-9]}}, {"*": [-9]}),
        ({"missing_codes": {"glucose": [0], "insulin": [0]}}, {"glucose": [0], "insulin": [0]}),
        ({"name": "missing_codes", "codes": {"*": [-9]}}, {"*": [-9]}),
    ],
)
def test_a_spec_may_be_written_short(spec: object, codes: object) -> None:
    assert plugins.build("steps", spec, prefix="clean.").codes == codes


def test_a_bare_value_sets_the_main_parameter() -> None:
    assert plugins.build("checks", {"optimism": 7}).bootstraps == 7
    assert plugins.build("checks", {"optimism": {"bootstraps": 7}}).bootstraps == 7


@pytest.mark.parametrize(
    ("group", "spec", "said"),
    [
        ("models", "logistik", "did you mean logistic"),
        ("models", {"logistic": {"deph": 3}}, "it takes: "),
        ("checks", {"performance": 3}, "named parameters"),
        ("checks", 7, "write a name"),
        ("checks", {"a": 1, "b": 2}, "write a name"),
    ],
)
def test_what_cannot_be_read_is_said_with_the_way_out(group: str, spec: object, said: str) -> None:
    with pytest.raises(PlanError) as caught:
        plugins.build(group, spec)
    assert said in caught.value.way_out or said in caught.value.what
