"""The spec: everything that makes one use case different from another, as one YAML document.

Thresholds, search spaces and limits live here and never in code. The Dagster component in
``mlops_assets.use_case`` reads it; every stage takes it as its first argument.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.reading.landed import Reading
from mlops_assets.lib.sources.spec import Source
from mlops_assets.lib.spec.model import Model
from mlops_assets.lib.spec.training_plan import Training

# On average; a block without any is then rare (Poisson: 0.7 %), and is an error that says so.
POSITIVES_OF_A_BLOCK = 5
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


class Factor(Model):
    """How many times more or fewer rows than usual are warned about, and refused."""

    warn: Annotated[float, Field(gt=1)]
    block: Annotated[float, Field(gt=1)]

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
        repeated_keys: Share of other rows that repeat the key of an earlier row.
        unknown_categories: Share of rows with a value that is none of the allowed, in a column.
        missing: Share of absent values in a column.
        missing_by_column: The same for single columns, in place of ``missing``.
        positive_rate: Smallest and largest share of the positive class.
        row_count: Factor by which the rows may differ from the median of the earlier accepted
            batches, once there are three.
        freshness_days: How old the newest event time may be when a batch lands; None for any age.
        score: Quality score (0 to 100) under which a batch is refused.
    """

    quarantined: Limit = Limit(warn=0.0, block=0.5)
    duplicates: Limit = Limit(warn=0.0, block=0.5)
    repeated_keys: Limit = Limit(warn=0.0, block=0.5)
    unknown_categories: Limit = Limit(warn=0.0, block=0.5)
    missing: Limit = Limit(warn=0.05, block=0.5)
    missing_by_column: dict[str, Limit] = Field(default_factory=dict)
    positive_rate: tuple[Share, Share] = (0.02, 0.98)
    row_count: Factor = Factor(warn=4, block=20)
    freshness_days: Annotated[float, Field(gt=0)] | None = None
    score: Annotated[float, Field(ge=0, le=100)] = 50.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.positive_rate
        if low > high:
            raise ValueError(f"positive_rate: {low} is above {high}")
        return self


class Split(Model):
    """How rows are held out; see ``docs/training.md``.

    Attributes:
        kind: ``hash``: the side follows from a hash, so that a row never changes side. ``time``:
            the newest rows are the test side, so that rows move to the training side as newer ones
            land; it needs the contract's ``event_time``.
        test_fraction: Share of rows on the test side: expected with ``hash``; with ``time`` at
            least, since rows of one moment stay together.
        salt: Changing it draws a new split, and is a decision to be written down.
        by: Columns whose values decide the side by their hash. Without it the contract's
            ``entity`` does, else its ``key``, else all inputs.
        entity: With ``time``: ``separate`` leaves rows out of training whose entity is on the test
            side, too; ``shared`` keeps these earlier rows, as fits where the same entities are
            scored again and again.
        gap_days: With ``time``: rows of this many days before the test side are left out, since
            their outcome was not known yet when its first row was.
        equal_inputs: Largest share of test rows whose inputs a training row has, too. Only for
            sides that do not follow from the inputs: otherwise there is none.
    """

    kind: Literal["hash", "time"] = "hash"
    test_fraction: Annotated[float, Field(gt=0, lt=0.9)] = 0.2
    salt: str = "1"
    by: list[str] = Field(default_factory=list)
    entity: Literal["separate", "shared"] = "separate"
    gap_days: Annotated[float, Field(ge=0, le=3660)] = 0.0
    equal_inputs: Share = 0.05

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "time" and self.by:
            raise ValueError("by: a split by time is made by the contract's event_time alone")
        if self.kind == "hash":
            for field in ("entity", "gap_days"):
                if field in self.model_fields_set and getattr(self, field) not in ("separate", 0):
                    raise ValueError(f"{field}: only a split of kind 'time' has it")
        return self


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


# Folders of the storage whose objects can be made again from what they are made of.
Store = Literal[
    "raw",
    "validated",
    "quarantine",
    "features",
    "training_sets",
    "candidates",
    "evaluations",
    "recipes",
    "bundles",
    "predictions",
]
Days = Annotated[float, Field(ge=0)]


class Retention(Model):
    """What ``mlops prune`` keeps. What serves, waits or can be rolled back to is always kept.

    Attributes:
        champions: Promoted versions that stay ready for a rollback, newest first.
        days: How long everything else is kept: rejected versions, runs of Dagster and MLflow.
        runs: The same for runs alone.
        landed: How long a landed file stays once its batch was ingested, whose raw rows stay.
            Without it for ever.
        stores: How long an object stays after it was made, by the folder that it lies in, though
            nothing needs it any more; without it no day.
    """

    champions: Annotated[int, Field(ge=1)] = 5
    days: Days = 30.0
    runs: Days | None = None
    landed: Days | None = None
    stores: dict[Store, Days] = Field(default_factory=dict)

    @property
    def days_of_runs(self) -> float:
        """How long runs of Dagster and MLflow are kept."""
        return self.days if self.runs is None else self.runs


class UseCase(BaseModel):
    """One prediction problem, which becomes a family of assets under one key prefix.

    Attributes:
        name: Key prefix of the assets, folder of the data, name of the registered model.
        title: The problem in one line.
        description: Intended use, limits and the source of the data; it opens the model card.
        owners: Who answers for the assets: e-mail addresses or ``team:name``.
        sources: Where the data come from, beside what a person lands.
    """

    # A mistake is named without its value: somebody may have written a password into a URL.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: Name
    title: str
    description: str
    owners: list[str] = Field(min_length=1)
    contract: Contract
    sources: list[Source] = Field(default_factory=list)
    reading: Reading = Reading()
    quality: Quality = Quality()
    split: Split = Split()
    training: Training
    decision: Decision = Decision()
    gate: Gate = Gate()
    rollout: Rollout = Rollout()
    retention: Retention = Retention()

    @model_validator(mode="after")
    def _sources_have_names_of_their_own(self) -> Self:
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"sources: two have the name {', '.join(twice)}")
        return self

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
        if self.quality.freshness_days is not None and self.contract.event_time is None:
            raise ValueError("quality.freshness_days needs contract.event_time: the age of what?")
        return self

    @model_validator(mode="after")
    def _can_be_split(self) -> Self:
        if self.split.kind == "time" and self.contract.event_time is None:
            raise ValueError("split.kind: 'time' needs the contract's event_time")
        if self.split.kind == "time":
            # Folds go forward: the oldest block of the oldest fold has this share of the positives.
            blocks = (self.training.outer_folds + 1) * (self.training.inner_folds + 1)
            if self.training.minimum_positives < POSITIVES_OF_A_BLOCK * blocks:
                raise ValueError(
                    f"training.minimum_positives {self.training.minimum_positives}: with "
                    f"split.kind 'time' the {blocks} blocks of the folds need at least "
                    f"{POSITIVES_OF_A_BLOCK * blocks}"
                )
        kept = {column.name: column for column in self.contract.columns if column.pii != "drop"}
        for name in self.split.by:
            if name not in kept:
                raise ValueError(f"split.by: no such column is kept of a row: {name}")
            if kept[name].nullable:
                raise ValueError(f"split.by: column {name!r} is not there in every row")
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
