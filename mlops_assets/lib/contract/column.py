"""A column of the raw data: what a value is, what it may be, and who may read it."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    FiniteFloat,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from mlops_assets.lib.spec.model import Model
from serving.bundle.columns import Column as RequestColumn

ColumnType = Literal["integer", "number", "category", "boolean", "text", "timestamp"]
# Strict: YAML reads an unquoted yes or no as a boolean, which would become 1 or 0.
Scalar = StrictInt | StrictFloat | StrictStr
Header = Annotated[str, StringConstraints(min_length=1)]
ColumnName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]

DUCKDB_TYPES: dict[str, str] = {
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "text": "VARCHAR",
    "timestamp": "TIMESTAMP",
}
# Columns of the platform beside the contract's in the files of a bundle.
RESERVED_NAMES = frozenset({"row_id", "expected_probability"})
RESERVED_PREFIX = "feature__"


class Column(Model):
    """One column of the raw data.

    Attributes:
        name: What the platform, the feature SQL and a request call it.
        header: As in the header of the landed file, if that is not ``name``.
        type: What a value is. A category of integers is kept as an integer code.
        unit: Physical unit, for people.
        minimum: Smallest allowed value, inclusive.
        maximum: Largest allowed value, inclusive.
        allowed: The allowed values; required for a category.
        nullable: Whether a value may be absent.
        missing_values: Values that stand for "not recorded"; they are read as absent.
        pii: Personal data: ``drop`` never writes them anywhere, ``hash`` writes a keyed digest in
            their place (a text). Neither is an input of the model.
        example: A typical value, shown in the API documentation.
    """

    name: ColumnName
    header: Header | None = None
    type: ColumnType
    description: str = Field(min_length=1)
    unit: str | None = None
    minimum: FiniteFloat | None = None
    maximum: FiniteFloat | None = None
    allowed: list[StrictInt] | list[StrictStr] | None = None
    nullable: bool = False
    missing_values: list[Scalar] = Field(default_factory=list)
    pii: Literal["drop", "hash"] | None = None
    example: Scalar | StrictBool | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        name = self.name
        refuse_reserved(name)
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"column {name!r}: minimum {self.minimum} > maximum {self.maximum}")
        if (self.type == "category") != bool(self.allowed):
            raise ValueError(f"column {name!r}: a category, and only a category, lists 'allowed'")
        if self.allowed is not None and len(set(self.allowed)) != len(self.allowed):
            raise ValueError(f"column {name!r}: 'allowed' names a value twice")
        if self.type not in ("integer", "number") and (
            self.minimum is not None or self.maximum is not None
        ):
            raise ValueError(f"column {name!r}: only an integer or a number has a range")
        if self.missing_values and not self.nullable:
            raise ValueError(f"column {name!r}: 'missing_values' needs 'nullable: true'")
        if self.pii and (self.type != "text" or self.missing_values):
            raise ValueError(f"column {name!r}: personal data are a text, with no 'missing_values'")
        if said := self.refused_by_serving():
            raise ValueError(said)
        return self

    def as_request(self) -> dict[str, Any]:
        """The column as a request's schema has it."""
        return self.model_dump(mode="json", exclude={"pii", "header"})

    def refused_by_serving(self, **changes: Any) -> str | None:
        """Why the serving app would refuse the column in a bundle: asked before any training.

        Args:
            changes: Fields that are looked at in place of the column's own.
        """
        try:
            RequestColumn.model_validate({**self.as_request(), **changes})
        except ValidationError as error:
            return error.errors()[0]["msg"].removeprefix("Value error, ")
        return None

    @property
    def landed_name(self) -> str:
        """The column's name in a landed file."""
        return self.name if self.header is None else normalise_header(self.header)

    @property
    def duckdb_type(self) -> str:
        """The DuckDB type that holds a value of this column."""
        if self.type == "category":
            assert self.allowed is not None
            return "BIGINT" if all(isinstance(value, int) for value in self.allowed) else "VARCHAR"
        return DUCKDB_TYPES[self.type]

    def broken(self, value: object) -> str:
        """Say in words why ``value`` breaks this column's contract."""
        if value is None:
            return f"{self.name}: a value is required"
        if self.allowed is not None:
            return f"{self.name}: {value} is not one of {', '.join(map(str, self.allowed))}"
        bounds = f"{_plain(self.minimum)} to {_plain(self.maximum)}"
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.name}: {value} is outside {bounds}{unit}"


def _plain(bound: float | None) -> str:
    if bound is None:
        return "unbounded"
    return str(int(bound)) if bound.is_integer() else str(bound)


def refuse_reserved(name: str) -> None:
    if name in RESERVED_NAMES or name.startswith(RESERVED_PREFIX):
        raise ValueError(f"column {name!r}: this name is kept for the platform")


def normalise_header(name: str) -> str:
    """A header cell as it is compared with the contract: trimmed, unquoted, without a BOM."""
    return re.sub(r"\s+", " ", name.replace("\ufeff", "").strip().strip('"').strip())
