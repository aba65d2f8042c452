"""The limits of a batch: what is warned about, and what is refused."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from mlops_assets.lib.spec.model import Model, Share


class _Ordered(Model):
    warn: float
    block: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.warn > self.block:
            raise ValueError(f"warn {self.warn} is above block {self.block}")
        return self


class Limit(_Ordered):
    """A share (0 to 1) above which a batch is warned about, and one above which it is refused."""

    warn: Share
    block: Share


class Factor(_Ordered):
    """How many times more or fewer rows than usual are warned about, and refused."""

    warn: Annotated[float, Field(gt=1)]
    block: Annotated[float, Field(gt=1)]


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
