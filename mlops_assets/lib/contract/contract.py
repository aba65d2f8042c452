"""The contract: the columns of a use case, said once.

Validation, the tables that dbt reads, the request schema of the serving app and the drift profile
are all derived from it, so that they cannot disagree.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
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

from mlops_assets.lib.digests import digest_of
from serving.bundle.columns import Column as RequestColumn

ColumnType = Literal["integer", "number", "category", "boolean", "text", "timestamp"]
# Strict: YAML reads an unquoted yes or no as a boolean, which would become 1 or 0.
Scalar = StrictInt | StrictFloat | StrictStr
ClassValue = StrictInt | StrictStr
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


class Column(BaseModel):
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

    model_config = ConfigDict(extra="forbid", frozen=True)

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
        _refuse_reserved(name)
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
        try:
            # What the serving app would refuse in a bundle is refused before anything is trained.
            RequestColumn.model_validate(self.as_request())
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        return self

    def as_request(self) -> dict[str, Any]:
        """The column as a request's schema has it."""
        return self.model_dump(mode="json", exclude={"pii", "header"})

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


def _refuse_reserved(name: str) -> None:
    if name in RESERVED_NAMES or name.startswith(RESERVED_PREFIX):
        raise ValueError(f"column {name!r}: this name is kept for the platform")


class Target(BaseModel):
    """What is predicted: a binary outcome.

    Attributes:
        column: The column that holds the outcome.
        header: As in the header of the landed file, if that is not ``column``.
        positive: The value that counts as the positive class.
        negative: The value of the other class.
        positive_label: The positive class in words.
        negative_label: The negative class in words.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: ColumnName
    header: Header | None = None
    positive: ClassValue = 1
    negative: ClassValue = 0
    positive_label: str = "yes"
    negative_label: str = "no"
    description: str = ""

    @model_validator(mode="after")
    def _two_classes(self) -> Self:
        _refuse_reserved(self.column)
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


class Earlier(BaseModel):
    """What happens to batches that landed under an earlier version of the contract.

    Attributes:
        batches: ``migrate``: their raw rows are validated by the present contract, once columns are
            renamed and filled; ``refuse``: none of them is used any more.
        renamed: The column by the header that it had in landed files.
        defaults: The value of a column that earlier versions did not have.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

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


class Contract(BaseModel):
    """The columns of a use case and its outcome, with a version.

    Attributes:
        version: Raised when the meaning of the data changes. Each batch keeps the number of the
            version that it landed under.
        earlier: What happens to batches of earlier versions.
        entity: The column that says whom or what a row is about, if rows share one. Rows of one
            entity stay on one side of the split, and are erased together.
        key: Columns that together name a row. A row that repeats the key of an earlier one of its
            batch is quarantined; one of a later batch replaces it in the training set.
        event_time: The timestamp at which everything in the row but the outcome was known.
        duplicates: What happens to a row that repeats an earlier one of its batch in every column:
            ``quarantine`` keeps the first; ``keep`` keeps all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = Field(ge=1)
    target: Target
    columns: list[Column] = Field(min_length=1)
    entity: ColumnName | None = None
    key: list[ColumnName] = Field(default_factory=list)
    event_time: ColumnName | None = None
    duplicates: Literal["quarantine", "keep"] = "quarantine"
    earlier: Earlier = Earlier()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [column.name for column in self.columns] + [self.target.column]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            also = ", which is the target" if self.target.column in twice else ""
            raise ValueError(f"columns named twice: {', '.join(twice)}{also}")
        headers = [c.landed_name for c in (*self.columns, self.target.as_column())]
        twice = sorted({header for header in headers if headers.count(header) > 1})
        if twice:
            raise ValueError(f"columns read twice from a landed file: {', '.join(twice)}")
        by_name = {column.name: column for column in self.columns}
        for field, name in self._identifying:
            column = by_name.get(name)
            if column is None:
                raise ValueError(f"{field}: no such column in the contract: {name}")
            if column.nullable or column.pii == "drop":
                raise ValueError(f"{field}: column {name!r} is there in every row, and is kept")
        if self.event_time is not None and by_name[self.event_time].type != "timestamp":
            raise ValueError(f"event_time: column {self.event_time!r} is not a timestamp")
        if not self.inputs:
            raise ValueError("every column only identifies a row: the model has no input")
        return self

    @model_validator(mode="after")
    def _earlier_batches_fit(self) -> Self:
        if self.version == 1 and self.earlier != Earlier():
            raise ValueError("earlier: version 1 has no earlier version")
        by_name = {column.name: column for column in self.every_column}
        headers = {column.landed_name for column in self.every_column}
        for old, new in self.earlier.renamed.items():
            if old in headers or new not in by_name:
                raise ValueError(
                    f"earlier.renamed: {old!r} to {new!r}: the first is a header of before, the "
                    "second a column that is kept of a row now"
                )
        fixed = {name for _, name in self._identifying} | {self.target.column}
        for name, value in self.earlier.defaults.items():
            column = by_name.get(name)
            if column is None or name in fixed or column.pii:
                raise ValueError(
                    f"earlier.defaults: {name!r} is not an input of the model: only an input is "
                    "the same in every row"
                )
            if value is None and not column.nullable:
                raise ValueError(f"earlier.defaults: column {name!r} is not nullable")
            try:
                RequestColumn.model_validate({**column.as_request(), "example": value})
            except ValidationError as error:
                said = error.errors()[0]["msg"].removeprefix("Value error, ")
                raise ValueError(f"earlier.defaults: {said}") from None
        return self

    @property
    def _identifying(self) -> list[tuple[str, str]]:
        single = [("entity", self.entity), ("event_time", self.event_time)]
        found = [(field, name) for field, name in single if name is not None]
        return found + [("key", name) for name in self.key]

    @property
    def inputs(self) -> list[Column]:
        """What the features are made of, and a request gives: all that does not identify a row."""
        identifying = {name for _, name in self._identifying}
        return [c for c in self.columns if c.name not in identifying and c.pii is None]

    @property
    def identifiers(self) -> list[Column]:
        """What is kept beside the inputs to group, order, replace or erase rows."""
        identifying = {name for _, name in self._identifying}
        return [c for c in self.columns if c.name in identifying or c.pii == "hash"]

    @property
    def every_column(self) -> list[Column]:
        """What is kept of a row, the outcome last, in the order of the validated Parquet."""
        kept = [column for column in self.columns if column.pii != "drop"]
        return [*kept, self.target.as_column()]

    @property
    def digest(self) -> str:
        """Digest of everything that changes what is accepted (descriptions do not)."""
        content = self.model_dump(mode="json")
        for column in content["columns"]:
            del column["description"], column["example"]
        del content["target"]["description"]
        if self.earlier == Earlier():
            del content["earlier"]  # contracts of before it was there keep their digest
        return digest_of(content)

    def request_schema(self, use_case: str) -> dict[str, Any]:
        """The contract of a request as ``contract.json`` of a bundle: the inputs alone."""
        return {
            "version": self.version,
            "use_case": use_case,
            "columns": [column.as_request() for column in self.inputs],
        }


def normalise_header(name: str) -> str:
    """A header cell as it is compared with the contract: trimmed, unquoted, without a BOM."""
    return re.sub(r"\s+", " ", name.replace("\ufeff", "").strip().strip('"').strip())
