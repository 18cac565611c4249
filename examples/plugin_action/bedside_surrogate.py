"""An action in one file: a small tree that imitates the model's calls (Craven & Shavlik 1996), left as text."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.evidence.estimate import Estimate, Evidence
from bedside.evidence.metrics.proportions import proportion
from bedside.models.predictions import Predictions

FIDELITY = {
    "kind": "metric",
    "en": "fidelity of the surrogate tree",
    "zh": "代理决策树保真度",
    "definition_en": "Share of rows unseen by a small tree for which its call is the model's.",
    "definition_zh": "在未参与拟合的行中，小型决策树与模型判定一致的比例。",
    "direction": "higher",
    "source": "Craven & Shavlik, NeurIPS 1996",
}
TERMS = {"surrogate_fidelity": FIDELITY}


class Surrogate:
    """A tree of `depth` levels fitted to the model's calls for half of the subjects, judged on the other half."""

    name: ClassVar[str] = "surrogate"
    main: ClassVar[str] = "depth"  # so that a plan may write {surrogate: 3}
    tasks: ClassVar[tuple[str, ...]] = ("classify",)
    metrics: ClassVar[tuple[str, ...]] = ("surrogate_fidelity",)
    paths: ClassVar[tuple[str, ...]] = ()  # parameters that name files beside the plan

    def __init__(self, depth: int = 3) -> None:
        self.depth = depth

    def __call__(
        self, predictions: Predictions, cohort: Cohort, *, run: Run, out: Path, level: float, **_: object
    ) -> Evidence:
        from sklearn.tree import DecisionTreeClassifier, export_text

        fields = [item.name for item in cohort.schema.inputs if item.kind == "number"]
        x, calls = cohort.frame[fields].to_numpy(), predictions.calls
        subject = np.unique(cohort["subject"].to_numpy(), return_inverse=True)[1]
        new = np.isin(subject, np.random.default_rng(run.seed).permutation(np.unique(subject))[::2])
        # Leaves of at least 20 rows, so that what is left behind points at no patient.
        tree = DecisionTreeClassifier(max_depth=self.depth, min_samples_leaf=20, random_state=run.seed)
        tree.fit(x[~new], calls[~new])
        (out / "tree.txt").write_text(export_text(tree, feature_names=fields), encoding="utf-8")
        share = proportion(tree.predict(x[new]) == calls[new], level=level, subject=subject[new])
        counts = {"n_rows": int(new.sum()), "n_subjects": len(np.unique(subject[new])), "level": level}
        made = Estimate(*self.metrics, share.value, share.low, share.high, method=share.method, unit="1", **counts)
        return Evidence(self.name, (made,))
