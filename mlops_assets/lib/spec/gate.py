"""What a version must reach, and what its errors cost."""

from typing import Annotated, Literal

from pydantic import Field

from mlops_assets.lib.spec.model import Model, Share

# The metrics that a floor can be set for: the higher, the better.
FloorMetric = Literal[
    "roc_auc", "pr_auc", "accuracy", "balanced_accuracy", "precision", "recall", "f1"
]


class Decision(Model):
    """What errors cost. They set the threshold: c_fp / (c_fp + c_fn) for calibrated scores."""

    cost_false_positive: Annotated[float, Field(gt=0)] = 1.0
    cost_false_negative: Annotated[float, Field(gt=0)] = 1.0

    @property
    def threshold(self) -> float:
        """The threshold of least expected cost.

        Elkan, "The foundations of cost-sensitive learning", 2001.
        """
        return self.cost_false_positive / (self.cost_false_positive + self.cost_false_negative)


class EquivalentWhen(Model):
    """When a version that is as good as the champion takes its place, whichever comes true.

    Attributes:
        champion_older_than_days: Since its promotion; none never counts.
        drifted: Rows that the champion never saw have drifted from those that it was trained on.
    """

    champion_older_than_days: Annotated[float, Field(gt=0)] | None = 90.0
    drifted: bool = True


class Comparison(Model):
    """How a challenger is compared with the champion, and which verdicts promote it.

    Attributes:
        margin: A difference in ROC AUC that does not matter, either way.
        alpha: The chance that a champion is ever taken for beaten, over all contests against it,
            by models that are no better.
        fresh_share: The share of the judged rows from which on rows that are new since the first
            contest against a champion renew that chance.
        promote: The verdicts that promote. The first version needs none.
        equivalent_when: When ``equivalent`` promotes although it is not among them.
    """

    margin: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    fresh_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    promote: list[Literal["better", "equivalent"]] = Field(default=["better"])
    equivalent_when: EquivalentWhen = EquivalentWhen()


class Gate(Model):
    """What a version must reach before it may serve.

    Attributes:
        floors: The least value of a metric, held against the out-of-fold score and, less the noise
            of a small test side, against the upper end of the test interval.
        calibration_error: Largest expected calibration error, out of fold.
        slices: Columns of the contract by whose values the model is looked at.
        slice_gap: How far a slice's ROC AUC interval may lie below the overall score.
        slice_minimum_rows: Smaller slices are shown and not judged.
        latency_budget_seconds: Largest median time of one answer in the sandbox.
        approval: ``manual`` if a person approves what the gate would promote.
        approval_days: So long a version waits for a person; then it has to be judged again.
        comparison: With the champion.
    """

    floors: dict[FloorMetric, Share] = Field(default={"roc_auc": 0.7})
    calibration_error: Share = 0.1
    slices: list[str] = Field(default_factory=list)
    slice_gap: Share = 0.1
    slice_minimum_rows: Annotated[int, Field(ge=10)] = 40
    latency_budget_seconds: Annotated[float, Field(gt=0)] = 0.2
    approval: Literal["automatic", "manual"] = "automatic"
    approval_days: Annotated[float, Field(gt=0)] = 7.0
    comparison: Comparison = Comparison()
