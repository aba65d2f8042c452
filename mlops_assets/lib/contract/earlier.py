"""What a contract says about the batches that landed under an earlier version of it."""

from typing import Literal, Self

from pydantic import Field, StrictBool, model_validator

from mlops_assets.lib.contract.column import ColumnName, Scalar
from mlops_assets.lib.spec.model import Model


class Earlier(Model):
    """What happens to batches that landed under an earlier version of the contract.

    Attributes:
        batches: ``migrate``: their raw rows are validated by the present contract, once columns are
            renamed and filled; ``refuse``: none of them is used any more.
        renamed: The column by the header that it had in landed files.
        defaults: The value of a column that earlier versions did not have.
    """

    batches: Literal["migrate", "refuse"] = "migrate"
    renamed: dict[str, ColumnName] = Field(default_factory=dict)
    defaults: dict[ColumnName, Scalar | StrictBool | None] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.batches == "refuse" and (self.renamed or self.defaults):
            raise ValueError("earlier: batches that are refused have nothing renamed or filled")
        new = list(self.renamed.values())
        twice = sorted({n for n in new if new.count(n) > 1} | (set(new) & self.defaults.keys()))
        if twice:
            raise ValueError(f"earlier: {', '.join(twice)}: renamed or filled twice")
        return self
