"""The spec: everything that makes one use case different from another, as one YAML document.

Thresholds, search spaces and limits live here and never in code. The Dagster component in
``mlops_assets.use_case`` reads it; every stage takes it as its first argument.
"""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.reading.landed import Reading
from mlops_assets.lib.sources.spec import Source
from mlops_assets.lib.spec.alerts import Alerts
from mlops_assets.lib.spec.card import Card
from mlops_assets.lib.spec.drift import Drift
from mlops_assets.lib.spec.gate import Decision, Gate
from mlops_assets.lib.spec.performance import LabelSource, Performance
from mlops_assets.lib.spec.pods import Pods
from mlops_assets.lib.spec.quality import Quality
from mlops_assets.lib.spec.retention import Retention
from mlops_assets.lib.spec.retrain import Retrain
from mlops_assets.lib.spec.rollout import Rollout
from mlops_assets.lib.spec.split import Split
from mlops_assets.lib.spec.training_plan import Training

# On average; a block without any is then rare (Poisson: 0.7 %), and is an error that says so.
POSITIVES_OF_A_BLOCK = 5
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]


class UseCase(BaseModel):
    """One prediction problem, which becomes a family of assets under one key prefix.

    Attributes:
        name: Key prefix of the assets, folder of the data, name of the registered model.
        title: The problem in one line.
        description: What is predicted, and from which data; it opens the model card.
        owners: Who answers for the assets: e-mail addresses or ``team:name``.
        sources: Where the data come from, beside what a person lands.
        labels: Where labels of answers come from, beside what the server is told.
        pods: The size of the pod that works on a stage, in a cluster; its own default without.
    """

    # A mistake is named without its value: somebody may have written a password into a URL.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: Name
    title: str
    description: str
    owners: list[str] = Field(min_length=1)
    contract: Contract
    sources: list[Source] = Field(default_factory=list)
    labels: list[LabelSource] = Field(default_factory=list)
    reading: Reading = Reading()
    quality: Quality = Quality()
    split: Split = Split()
    training: Training
    decision: Decision = Decision()
    gate: Gate = Gate()
    card: Card = Card()
    rollout: Rollout = Rollout()
    drift: Drift = Drift()
    performance: Performance = Performance()
    alerts: Alerts = Alerts()
    retrain: Retrain = Retrain()
    retention: Retention = Retention()
    pods: Pods = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sources_have_names_of_their_own(self) -> Self:
        names = [source.name for source in [*self.sources, *self.labels]]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"sources and labels: two have the name {', '.join(twice)}")
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
    def retrain_floors(self) -> dict[str, float]:
        """The least value by metric that the champion's answers may have, for a retrain."""
        plan = self.retrain.performance
        if plan is None or plan.floors is None:
            return {"accuracy": self.alerts.accuracy.warning}
        return {str(metric): floor for metric, floor in plan.floors.items()}

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
