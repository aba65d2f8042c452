"""How a version comes to serve: at once, or step by step with a look at each."""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from mlops_assets.lib.spec.model import Model, Share

Seconds = Annotated[float, Field(gt=0)]
Role = Literal["shadow", "challenger"]


class Step(Model):
    """A part of the traffic for some time.

    Attributes:
        shadow: Percentage of the requests that the version sees, without answering them.
        canary: Percentage of the requests that it answers; all of them is no step, but the end.
        minutes: How long it is watched.
    """

    shadow: Annotated[float, Field(gt=0, le=100)] | None = None
    canary: Annotated[float, Field(gt=0, lt=100)] | None = None
    minutes: Annotated[float, Field(gt=0, le=7 * 24 * 60)]

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.shadow is None) == (self.canary is None):
            raise ValueError("give either shadow or canary, a percentage of the requests")
        return self

    @property
    def role(self) -> Role:
        """The role that the version plays."""
        return "challenger" if self.shadow is None else "shadow"

    @property
    def percent(self) -> float:
        """Of the requests."""
        return self.canary or self.shadow or 0.0

    @property
    def seconds(self) -> float:
        """How long it is watched."""
        return 60 * self.minutes

    def __str__(self) -> str:
        return f"{'canary' if self.shadow is None else 'shadow'} {self.percent:g} %"


class Analysis(Model):
    """What the version may do worse than the champion while it is watched.

    Attributes:
        error_rate: Share of its requests that it did not answer, above the champion's.
        latency_ratio: Its 95th percentile of the time to answer, as a multiple of the champion's.
        latency_floor_seconds: A shorter time counts as this one in the ratio.
        latency_p95_seconds: The same percentile, whatever the champion's is.
        score_shift: Kolmogorov-Smirnov distance of its scores, in ten buckets, from the champion's.
        disagreement: Share of the rows where a shadow's class is not the answer's.
        out_of_range: Share of rows with a value that its training never saw, above the champion's,
            of any column.
        wrong_answers: Share of the labelled answers that were wrong, above the champion's; asked
            only where ``minimum_rows`` of both have a label by then.
        minimum_rows: A measure of fewer is no reason to go on.
        false_alarm: Chance that a step takes a version back which keeps to every limit.
        retries: How often a step that was inconclusive is given its time once more.
        without_traffic: What is done with a version after a step that ended with too few rows:
            ``proceed``, or ``back``; without it a laptop (environment ``dev``) proceeds.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    error_rate: Share = 0.01
    latency_ratio: Annotated[float, Field(ge=1)] = 2.0
    latency_floor_seconds: Seconds = 0.005
    latency_p95_seconds: Seconds = 0.5
    score_shift: Share = 0.2
    disagreement: Share = 0.2
    out_of_range: Share = 0.05
    wrong_answers: Share = 0.05
    minimum_rows: Annotated[int, Field(ge=20)] = 100
    false_alarm: Annotated[float, Field(gt=0, le=0.5)] = 0.01
    retries: Annotated[int, Field(ge=0, le=10)] = 1
    without_traffic: Literal["proceed", "back"] | None = None


class Rollout(Model):
    """How a version comes to serve.

    Attributes:
        timeout_seconds: So long the app may take to follow, or be away.
        attempts: How often a rollout is begun that could not be carried out.
        steps: What comes between the smoke test and all of the traffic; without any the version
            serves at once. The first champion does in any case: there is nobody to compare with.
        analysis: Judges each step.
        longest_pause_hours: A rollout that a person has paused for longer is taken back.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    timeout_seconds: Seconds = 30.0
    attempts: Annotated[int, Field(ge=1, le=20)] = 3
    steps: list[Step] = Field(default_factory=list, max_length=20)
    analysis: Analysis = Analysis()
    longest_pause_hours: Annotated[float, Field(gt=0)] = 24.0

    @model_validator(mode="after")
    def _steps_go_up(self) -> Self:
        canaries = [step.canary for step in self.steps if step.canary is not None]
        if any(later <= earlier for earlier, later in pairwise(canaries)):
            shown = ", ".join(f"{percent:g}" for percent in canaries)
            raise ValueError(f"steps: the canary percentages must rise, found {shown}")
        first = next((n for n, step in enumerate(self.steps) if step.canary is not None), None)
        if first is not None and any(step.shadow is not None for step in self.steps[first:]):
            raise ValueError("steps: a shadow after a canary; whoever answers needs no shadow")
        return self
