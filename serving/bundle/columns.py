"""One column of a request: its description for people and the check of its values.

Both are made from the same few fields of the contract, so the documentation cannot promise what the
check refuses.
"""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

from serving.bundle.values import InvalidValueError, convert, shown, type_name

LONGEST_NAME: Final = 64
#: Stands for a key that the request does not have; null is a value.
ABSENT: Final = object()

Code = StrictInt | StrictFloat | StrictStr
# Training writes 18.0; people and schemas read 18.
Bound = Annotated[
    int | float,
    BeforeValidator(lambda v: int(v) if isinstance(v, float) and v.is_integer() else v),
]
_DUCKDB_TYPES: Final = {
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "text": "VARCHAR",
    "timestamp": "TIMESTAMP",
}
_LOOKED_UP: Final = frozenset({int, float, str})
_JSON_TYPES: Final = {"integer": "integer", "number": "number", "boolean": "boolean"}


class Column(BaseModel):
    """One column of the request, as written by training."""

    model_config = ConfigDict(frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    type: Literal["integer", "number", "category", "boolean", "text", "timestamp"]
    unit: str | None = None
    description: str = ""
    nullable: bool = False
    minimum: Bound | None = None
    maximum: Bound | None = None
    allowed: list[Code] | None = None
    missing_values: list[Code] = []
    example: Code | StrictBool | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        where = f"column {self.name!r}"
        if self.type == "category" and not self.allowed:
            raise ValueError(f"{where}: a category must list its allowed values")
        if self.type not in ("integer", "number") and (self.minimum, self.maximum) != (None, None):
            raise ValueError(f"{where}: only an integer or a number has a minimum or a maximum")
        try:
            check = ColumnCheck(self)
            if self.example is not None:
                check(self.example)
        except InvalidValueError as error:
            raise ValueError(f"{where}: {error}") from None
        return self

    @property
    def value_type(self) -> str:
        """The type of a value: the column's own, or for a category that of its codes."""
        if self.type != "category":
            return self.type
        return "integer" if all(type(value) is int for value in self.allowed or ()) else "text"

    @property
    def duckdb_type(self) -> str:
        """The DuckDB type that holds a value of this column."""
        return _DUCKDB_TYPES[self.value_type]

    def json_schema(self) -> dict[str, Any]:
        """Describe the column as JSON Schema (the dialect of OpenAPI 3.1)."""
        kind = _JSON_TYPES.get(self.value_type, "string")
        notes = [self.description, f"Unit: {self.unit}." if self.unit else ""]
        if self.missing_values:
            notes.append(f"Read as not recorded: {', '.join(map(shown, self.missing_values))}.")
        schema: dict[str, Any] = {
            "title": self.name,
            "type": [kind, "null"] if self.nullable else kind,
            "description": " ".join(filter(None, notes)),
            "format": "date-time" if self.type == "timestamp" else None,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "enum": [*self.allowed, *([None] if self.nullable else [])] if self.allowed else None,
        }
        return {name: value for name, value in schema.items() if value is not None}


class ColumnCheck:
    """Reads the values of one column. Built once, because it runs for every request."""

    def __init__(self, column: Column) -> None:
        """Prepare the look-ups.

        Raises:
            InvalidValueError: An allowed value is not of the column's type.
        """
        self._column = column
        # Values whose meaning is fixed: codes (3.0 is looked up as 3), and stand-ins for null.
        self._known: dict[object, Any] = {
            value: convert(column.value_type, value) for value in column.allowed or ()
        }
        self._known.update(dict.fromkeys(column.missing_values))

    def __call__(self, value: object) -> object:
        """Read one value, or `ABSENT`.

        Raises:
            InvalidValueError: With the limit that the value breaks.
        """
        # By exact type: True equals 1 and would be found.
        if self._known and type(value) in _LOOKED_UP and value in self._known:
            code = self._known[value]
            if code is None:
                self._refuse_absent(value)
            return code
        if value is None or value is ABSENT:
            self._refuse_absent(value)
            return None
        column = self._column
        if column.allowed is not None:
            choices = ", ".join(map(shown, column.allowed))
            raise InvalidValueError("enum", f"must be one of {choices}; got {shown(value)}")
        read = convert(column.type, value)
        if column.minimum is not None and read < column.minimum:
            raise self._out_of_range("greater_than_equal", "at least", column.minimum, value)
        if column.maximum is not None and read > column.maximum:
            raise self._out_of_range("less_than_equal", "at most", column.maximum, value)
        return read

    def _out_of_range(
        self, kind: str, relation: str, limit: float, value: object
    ) -> InvalidValueError:
        unit = f" {self._column.unit}" if self._column.unit else ""
        return InvalidValueError(kind, f"must be {relation} {limit}{unit}; got {shown(value)}")

    def _refuse_absent(self, value: object) -> None:
        if self._column.nullable:
            return
        if value is ABSENT:
            raise InvalidValueError("missing", f"is required: {type_name(self._column.value_type)}")
        meaning = "" if value is None else ", which means not recorded"
        raise InvalidValueError("missing", f"must have a value; got {shown(value)}{meaning}")
