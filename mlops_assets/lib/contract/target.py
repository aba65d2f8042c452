"""The outcome that is predicted: one column with two classes."""

from typing import Self

from pydantic import StrictInt, StrictStr, model_validator

from mlops_assets.lib.contract.column import Column, ColumnName, Header, refuse_reserved
from mlops_assets.lib.spec.model import Model

ClassValue = StrictInt | StrictStr


class Target(Model):
    """What is predicted: a binary outcome.

    Attributes:
        column: The column that holds the outcome.
        header: As in the header of the landed file, if that is not ``column``.
        positive: The value that counts as the positive class.
        negative: The value of the other class.
        positive_label: The positive class in words.
        negative_label: The negative class in words.
    """

    column: ColumnName
    header: Header | None = None
    positive: ClassValue = 1
    negative: ClassValue = 0
    positive_label: str = "yes"
    negative_label: str = "no"
    description: str = ""

    @model_validator(mode="after")
    def _two_classes(self) -> Self:
        refuse_reserved(self.column)
        if str(self.positive) == str(self.negative):
            raise ValueError("target: 'positive' and 'negative' are the same value")
        return self

    def as_column(self) -> Column:
        """The outcome as a column, so that it is validated as any other."""
        values = [self.negative, self.positive]
        codes = all(isinstance(value, int) for value in values)
        return Column.model_validate(
            {
                "name": self.column,
                "header": self.header,
                "type": "category",
                "allowed": values if codes else list(map(str, values)),
                "description": self.description or "The outcome.",
            }
        )
