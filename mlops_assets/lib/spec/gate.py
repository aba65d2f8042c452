"""What a version must reach, and what its errors cost."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

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


class Robustness(Model):
    """How many answers may change where the question hardly does.

    Attributes:
        noise: Moves the numbers of a row, as a share of each column's standard deviation.
        noise_flips: Share of the rows that may fall into the other class by that.
        missing_flips: Share of the rows with a value in a nullable column that may fall into the
            other class when it is not recorded. Losing a value is losing knowledge: wider.
        rows: How many rows are tried.
    """

    noise: Annotated[float, Field(gt=0, le=1)] = 0.01
    noise_flips: Share = 0.02
    missing_flips: Share = 0.35
    rows: Annotated[int, Field(ge=100, le=100_000)] = 2000


class Gate(Model):
    """What a version must reach before it may serve.

    An interval decides which side of caution is taken. A floor asks for proof that the model is
    good: its lower end must reach it. The limits on calibration slope, slices and robustness ask
    for proof that something is wrong: they are broken only if the whole interval lies beyond them,
    since with few rows anything looks wrong now and then.

    Attributes:
        floors: The least value of a metric: of the lower end of its out-of-fold interval, and,
            since the test side is small, of the upper end of its test interval.
        calibration_error: Largest expected calibration error, out of fold.
        calibration_slope: Least and largest calibration slope, out of fold; see
            ``lib/evaluation/calibration.py``.
        slices: Columns of the contract by whose values the model is looked at; numbers by their
            quartiles.
        slice_gap: By how much the ROC AUC of a slice may be below that of the rest.
        slice_recall_gap: By how much its true-positive rate may be below.
        slice_false_alarm_gap: By how much its false-positive rate may be above.
        slice_minimum_rows: Smaller slices are shown and not judged.
        single_feature_auc: A single feature with a larger ROC AUC, in either direction, gives the
            outcome away; 1 allows it.
        robustness: How steady the answers must be.
        latency_budget_seconds: Largest median time of one answer in the sandbox.
        approval: ``manual`` if a person approves what the gate would promote.
        approval_days: So long a version waits for a person; then it has to be judged again.
        comparison: With the champion.
        reference_data: Files, named from the project's root, that ``mlops gate`` takes to a verdict
            where it is given none; without any it takes what the synthetic sources give.
    """

    floors: dict[FloorMetric, Share] = Field(default={"roc_auc": 0.7})
    calibration_error: Share = 0.1
    calibration_slope: tuple[float, float] = (0.5, 2.0)
    slices: list[str] = Field(default_factory=list)
    slice_gap: Share = 0.1
    slice_recall_gap: Share = 0.2
    slice_false_alarm_gap: Share = 0.2
    slice_minimum_rows: Annotated[int, Field(ge=10)] = 40
    single_feature_auc: Annotated[float, Field(gt=0.5, le=1)] = 0.995
    robustness: Robustness = Robustness()
    latency_budget_seconds: Annotated[float, Field(gt=0)] = 0.2
    approval: Literal["automatic", "manual"] = "automatic"
    approval_days: Annotated[float, Field(gt=0)] = 7.0
    comparison: Comparison = Comparison()
    reference_data: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _slope_is_a_range(self) -> Self:
        low, high = self.calibration_slope
        if not low <= 1 <= high:
            raise ValueError(f"calibration_slope: 1 is right, and not in {low:g} to {high:g}")
        return self
