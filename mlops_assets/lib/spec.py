"""The spec: everything that makes one use case different from another, as one YAML document.

Thresholds, search spaces and limits live here and never in code. The Dagster component in
``mlops_assets.use_case`` reads it; every stage takes it as its first argument.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from mlops_assets.lib.contract import Contract
from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.landed import Reading
from mlops_assets.lib.training_plan import Model, Training

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
# The metrics that a floor can be set for: the higher, the better.
FloorMetric = Literal[
    "roc_auc", "pr_auc", "accuracy", "balanced_accuracy", "precision", "recall", "f1"
]


class Limit(Model):
    """A share (0 to 1) above which a batch is warned about, and one above which it is refused."""

    warn: Share
    block: Share

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.warn > self.block:
            raise ValueError(f"warn {self.warn} is above block {self.block}")
        return self


class Quality(Model):
    """The limits of a batch.

    Attributes:
        quarantined: Share of rows that break the contract.
        duplicates: Share of rows that repeat an earlier row.
        missing: Share of absent values in a column.
        missing_by_column: The same for single columns, in place of ``missing``.
        positive_rate: Smallest and largest share of the positive class.
        score: Quality score (0 to 100) under which a batch is refused.
    """

    quarantined: Limit = Limit(warn=0.0, block=0.5)
    duplicates: Limit = Limit(warn=0.0, block=0.5)
    missing: Limit = Limit(warn=0.05, block=0.5)
    missing_by_column: dict[str, Limit] = Field(default_factory=dict)
    positive_rate: tuple[Share, Share] = (0.02, 0.98)
    score: Annotated[float, Field(ge=0, le=100)] = 50.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.positive_rate
        if low > high:
            raise ValueError(f"positive_rate: {low} is above {high}")
        return self


class Split(Model):
    """How rows are held out: by a hash of their content, so that a row never changes side.

    Attributes:
        test_fraction: Expected share of rows on the test side.
        salt: Changing it draws a new split, and is a decision to be written down.
    """

    test_fraction: Annotated[float, Field(gt=0, lt=0.9)] = 0.2
    salt: str = "1"


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
    """

    floors: dict[FloorMetric, Share] = Field(default={"roc_auc": 0.7})
    calibration_error: Share = 0.1
    slices: list[str] = Field(default_factory=list)
    slice_gap: Share = 0.1
    slice_minimum_rows: Annotated[int, Field(ge=10)] = 40
    latency_budget_seconds: Annotated[float, Field(gt=0)] = 0.2


class Rollout(Model):
    """How long a rollout waits for the new version to answer, and how often it is tried again."""

    timeout_seconds: Annotated[float, Field(gt=0)] = 30.0
    attempts: Annotated[int, Field(ge=1, le=20)] = 3


class Retention(Model):
    """What ``mlops prune`` keeps. What serves, waits or can be rolled back to is always kept.

    Attributes:
        champions: Promoted versions that stay ready for a rollback, newest first.
        days: How long everything else is kept: rejected versions, runs of Dagster and MLflow.
    """

    champions: Annotated[int, Field(ge=1)] = 5
    days: Annotated[float, Field(ge=0)] = 30.0


class UseCase(BaseModel):
    """One prediction problem, which becomes a family of assets under one key prefix.

    Attributes:
        name: Key prefix of the assets, folder of the data, name of the registered model.
        title: The problem in one line.
        description: Intended use, limits and the source of the data; it opens the model card.
        owners: Who answers for the assets: e-mail addresses or ``team:name``.
    """

    model_config = ConfigDict(extra="forbid")

    name: Name
    title: str
    description: str
    owners: list[str] = Field(min_length=1)
    contract: Contract
    reading: Reading = Reading()
    quality: Quality = Quality()
    split: Split = Split()
    training: Training
    decision: Decision = Decision()
    gate: Gate = Gate()
    rollout: Rollout = Rollout()
    retention: Retention = Retention()

    @model_validator(mode="after")
    def _columns_exist(self) -> Self:
        known = {column.name for column in self.contract.inputs}
        for field, names in (
            ("gate.slices", self.gate.slices),
            ("quality.missing_by_column", list(self.quality.missing_by_column)),
        ):
            unknown = [name for name in names if name not in known]
            if unknown:
                raise ValueError(f"{field}: no such column in the contract: {', '.join(unknown)}")
        return self

    @property
    def training_digest(self) -> str:
        """Digest of what changes a trained model, given the same features."""
        parts = self.model_dump(mode="json", include={"split", "training", "decision"})
        plan = self.training
        usual = {
            name: [
                {parameter: space.model_dump() for parameter, space in plan.search(name).items()},
                plan.fixed(name),
            ]
            for name in plan.candidates
        }
        return digest_of([parts, usual])
