"""The training part of the spec: who takes part in the contest, what is searched, and the budget.

Every algorithm has a search space that suits some hundred to some million rows; a spec replaces it
parameter by parameter.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from mlops_assets.lib.spec.model import Model
from mlops_assets.lib.spec.parameters import unknown_parameter

BaseAlgorithm = Literal["logistic_regression", "random_forest", "gradient_boosting", "xgboost"]
Algorithm = Literal[BaseAlgorithm, "stacked_ensemble"]
STACK: Algorithm = "stacked_ensemble"
Value = float | int | str | bool | None


class FloatRange(Model):
    """A range that the search draws from, evenly or on a logarithmic scale."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range starts above 0, not at {self.low}")
        return self


class IntRange(FloatRange):
    """A range of whole numbers, both ends included."""

    low: int
    high: int


class Choice(Model):
    """Values that the search chooses from, for example class weights: ``[null, balanced]``."""

    choices: list[Value] = Field(min_length=1)


def _of_its_kind(given: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Read what is meant, so that a mistake in one space is not held against the others."""
    if isinstance(given, Model):
        return validate(given)
    if not isinstance(given, dict) or not {"low", "high", "choices"} & given.keys():
        raise ValueError("a range (low and high) or choices are expected")
    if "choices" in given:
        return Choice.model_validate(given)
    is_whole = all(type(given[end]) is int for end in ("low", "high") if end in given)
    return (IntRange if is_whole else FloatRange).model_validate(given)


Space = Annotated[IntRange | FloatRange | Choice, WrapValidator(_of_its_kind)]

_BOOSTING_RATE = FloatRange(low=0.02, high=0.3, log=True)
SEARCH: dict[Algorithm, dict[str, Space]] = {
    "logistic_regression": {"C": FloatRange(low=0.001, high=10.0, log=True)},
    "random_forest": {
        "max_features": FloatRange(low=0.1, high=0.8),
        "min_samples_leaf": IntRange(low=1, high=20, log=True),
    },
    "gradient_boosting": {
        "learning_rate": _BOOSTING_RATE,
        "max_leaf_nodes": IntRange(low=2, high=32, log=True),
        "min_samples_leaf": IntRange(low=5, high=50, log=True),
        "l2_regularization": FloatRange(low=1e-3, high=10.0, log=True),
    },
    "xgboost": {
        "learning_rate": _BOOSTING_RATE,
        "max_depth": IntRange(low=1, high=6),
        "min_child_weight": FloatRange(low=1.0, high=10.0, log=True),
        "subsample": FloatRange(low=0.6, high=1.0),
        "colsample_bytree": FloatRange(low=0.5, high=1.0),
    },
    STACK: {},
}
FIXED: dict[Algorithm, dict[str, Value]] = {
    "random_forest": {"n_estimators": 200},
    # The most; early stopping finds how many are used.
    "gradient_boosting": {"max_iter": 400},
    "xgboost": {"n_estimators": 400},
}


class Candidate(Model):
    """One algorithm of the contest.

    Attributes:
        search: What Optuna draws, by the algorithm's own parameter name; the algorithm's usual
            search space (``SEARCH``) where it is left out.
        fixed: Parameters that are not searched, on top of the usual ones (``FIXED``).
            ``class_weight: balanced`` weights the classes, whatever the algorithm calls it.
        trials: Optuna trials of each search, in place of the plan's.
        patience: Boosting stops after this many rounds without a better loss on rows held out.
    """

    search: dict[str, Space] | None = None
    fixed: dict[str, Value] = Field(default_factory=dict)
    trials: Annotated[int, Field(ge=1, le=10_000)] | None = None
    patience: Annotated[int, Field(ge=1)] = 15

    @model_validator(mode="after")
    def _either_or(self) -> Self:
        both = sorted((self.search or {}).keys() & self.fixed.keys())
        if both:
            raise ValueError(f"{', '.join(both)}: searched and fixed at once")
        return self


# ``xgboost:`` with nothing after it takes part as it usually does; the schema of the YAML agrees.
UsualIfEmpty = Annotated[
    Candidate,
    BeforeValidator(
        lambda given: {} if given is None else given, json_schema_input_type=Candidate | None
    ),
]


class Training(Model):
    """The budget of training.

    Attributes:
        seed: Makes every draw repeatable.
        outer_folds: Folds of the out-of-fold score that decides the contest.
        inner_folds: Folds inside each search.
        trials: Optuna trials of each search.
        minimum_rows: Rows that the training side needs.
        minimum_positives: Rows of the rarer class that the training side needs.
        threads: Of each fit. One gives the same model, bit by bit, on every machine; more are worth
            it from some ten thousand rows on.
        search_rows: A search draws at most this many rows, with the classes in proportion; what it
            chose is then fitted on all. The same rows for the same seed.
        budget_seconds: Seconds for all searches of a candidate, in equal parts. A search that is
            cut short ends after the trial it is at, and always does one; how many it did depends
            on the machine, so that the candidate is recorded as not reproducible. No limit where it
            is left out.
        candidates: The algorithms that take part; all of them where it is left out. The stacked
            ensemble is made of the others.
    """

    seed: Annotated[int, Field(ge=0)] = 7
    outer_folds: Annotated[int, Field(ge=2, le=20)] = 5
    inner_folds: Annotated[int, Field(ge=2, le=20)] = 3
    trials: Annotated[int, Field(ge=1, le=10_000)] = 20
    minimum_rows: Annotated[int, Field(ge=20)] = 100
    minimum_positives: Annotated[int, Field(ge=5)] = 20
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    search_rows: Annotated[int, Field(ge=1000)] = 100_000
    budget_seconds: Annotated[float, Field(gt=0)] | None = None
    candidates: dict[Algorithm, UsualIfEmpty] = Field(
        default_factory=lambda: {algorithm: Candidate() for algorithm in SEARCH}, min_length=1
    )

    @model_validator(mode="after")
    def _parameters_exist(self) -> Self:
        unknown = [
            f"candidates.{algorithm}.{field}.{name}: {said}"
            for algorithm, candidate in self.candidates.items()
            for field, names in (("fixed", candidate.fixed), ("search", candidate.search or {}))
            for name in names
            if (said := unknown_parameter(algorithm, name)) is not None
        ]
        if unknown:
            raise ValueError("\n".join(unknown))
        return self

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if STACK in self.candidates and len(self.candidates) < 3:
            raise ValueError(f"candidates: {STACK} needs two others to be made of")
        least = max(self.outer_folds, 2 * self.inner_folds)
        if self.minimum_positives < least:
            raise ValueError(
                f"minimum_positives {self.minimum_positives}: {self.outer_folds} outer and "
                f"{self.inner_folds} inner folds need at least {least}"
            )
        return self

    @property
    def members(self) -> list[BaseAlgorithm]:
        """What the stacked ensemble is made of."""
        return [name for name in self.candidates if name != "stacked_ensemble"]

    def search(self, algorithm: Algorithm) -> dict[str, Space]:
        """What is searched for an algorithm."""
        own = self.candidates[algorithm]
        usual = SEARCH[algorithm] if own.search is None else own.search
        return {name: space for name, space in usual.items() if name not in own.fixed}

    def fixed(self, algorithm: Algorithm) -> dict[str, Value]:
        """What is not searched for an algorithm."""
        own = {**FIXED.get(algorithm, {}), **self.candidates[algorithm].fixed}
        return {name: value for name, value in own.items() if name not in self.search(algorithm)}

    def trials_of(self, algorithm: Algorithm) -> int:
        """Optuna trials of each search of an algorithm."""
        if not self.search(algorithm):
            return 1
        return self.candidates[algorithm].trials or self.trials

    @property
    def search_seconds(self) -> float | None:
        """Seconds of each search: one without the rows of each outer fold, one with all."""
        if self.budget_seconds is None:
            return None
        return self.budget_seconds / (self.outer_folds + 1)
