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
        reference_data: Files, named from the project's root, that ``mlops gate`` takes to a verdict
            where it is given none; without any it takes what the synthetic sources give.
    """

    floors: dict[FloorMetric, Share] = Field(default={"roc_auc": 0.7})
    calibration_error: Share = 0.1
    slices: list[str] = Field(default_factory=list)
    slice_gap: Share = 0.1
    slice_minimum_rows: Annotated[int, Field(ge=10)] = 40
    latency_budget_seconds: Annotated[float, Field(gt=0)] = 0.2
    reference_data: list[str] = Field(default_factory=list)
