"""The contract of a request: what a row may hold, and a precise answer when it does not.

The contract is data that arrives with a bundle and may change at a swap, so the checks and the
OpenAPI schema are both built from it here; neither can say something the other does not.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from serving.bundle.columns import ABSENT, LONGEST_NAME, Column, ColumnCheck
from serving.bundle.manifest import BundleError
from serving.bundle.values import InvalidValueError, shown

Row = dict[str, Any]

# A client that sends thousands of unknown fields learns no more from the fifty-first.
_MOST_PROBLEMS: Final = 50


class ContractError(BundleError):
    """A contract that cannot be used. The message names the column and what is wrong."""


class RowError(ValueError):
    """A request that breaks the contract.

    Attributes:
        problems: Every problem at once, as FastAPI's `detail`: `loc`, `msg` and `type`.
    """

    def __init__(self, problems: list[dict[str, Any]]) -> None:
        """Keep the problems and make them readable as a message."""
        super().__init__("; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems))
        self.problems = problems


class Contract(BaseModel):
    """The columns of a request, in the order in which training saw them.

    `entity_pii` says what may be kept of an entity's id: nothing, or its keyed digest.
    """

    model_config = ConfigDict(frozen=True)

    version: int
    use_case: str
    entity_pii: Literal["drop", "hash"] | None = None
    columns: Annotated[list[Column], Field(min_length=1)]
    _checks: dict[str, ColumnCheck] = PrivateAttr()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        # SQL names ignore case, and the rows' own key is called row_id.
        names = ["row_id", *(column.name.lower() for column in self.columns)]
        for column in self.columns:
            if names.count(column.name.lower()) > 1:
                raise ValueError(f"column {column.name!r}: the name is taken")
        return self

    def model_post_init(self, _: Any) -> None:
        """Build the checks once; a request only runs them."""
        self._checks = {column.name: ColumnCheck(column) for column in self.columns}

    @property
    def duckdb_types(self) -> dict[str, str]:
        """The DuckDB type of each column, in order."""
        return {column.name: column.duckdb_type for column in self.columns}

    def validate_row(self, payload: object) -> Row:
        """Check one row and read it as the model's SQL sees it.

        Args:
            payload: What `json.loads` gave for one row.

        Returns:
            A value for each column in order: int, float, bool, str (timestamps as UTC text) or
            None. Values that stand for "not recorded" are None.

        Raises:
            RowError: With every problem found, up to 50.
        """
        if not isinstance(payload, dict):
            message = f"must be a JSON object with the columns as keys; got {shown(payload)}"
            raise RowError([_problem([], "model_attributes_type", message)])
        row: Row = {}
        problems = []
        for name, check in self._checks.items():
            try:
                row[name] = check(payload.get(name, ABSENT))
            except InvalidValueError as error:
                problems.append(_problem([name], error.kind, str(error)))
        if not payload.keys() <= self._checks.keys():
            unknown = [name for name in payload if name not in self._checks]
            problems += [
                _problem([_safe(name)], "extra_forbidden", "is not a column of this contract")
                for name in unknown[:_MOST_PROBLEMS]
            ]
        if problems:
            raise RowError(problems[:_MOST_PROBLEMS])
        return row

    def validate_rows(self, payloads: Sequence[object]) -> list[Row]:
        """Check the rows of one request; see `validate_row`.

        Raises:
            RowError: With the problems of every row, up to 50, each with the row's number.
        """
        rows: list[Row] = []
        problems: list[dict[str, Any]] = []
        for number, payload in enumerate(payloads):
            try:
                rows.append(self.validate_row(payload))
            except RowError as error:
                problems += [{**p, "loc": ["body", number, *p["loc"][1:]]} for p in error.problems]
                if len(problems) >= _MOST_PROBLEMS:
                    break
        if problems:
            raise RowError(problems[:_MOST_PROBLEMS])
        return rows

    def json_schema(self) -> dict[str, Any]:
        """Describe the row as JSON Schema, with a complete example."""
        return {
            "title": f"{self.use_case} row",
            "type": "object",
            "properties": {column.name: column.json_schema() for column in self.columns},
            "required": [column.name for column in self.columns if not column.nullable],
            "additionalProperties": False,
            "example": {column.name: column.example for column in self.columns},
        }


def decode(body: bytes) -> object:
    """Read a request body as JSON.

    Raises:
        RowError: It is not JSON.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        # What only the standard library reads, such as NaN, is refused by its column: more helpful.
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        # Not the parser's message alone: for bytes that are not text it repeats the input.
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "not readable"
        problem = _problem([], "json_invalid", f"must be valid JSON: {reason}")
        raise RowError([problem]) from None


def read_contract(text: bytes, source: str) -> Contract:
    """Read `contract.json`.

    Args:
        text: The file's content.
        source: The file's name, for messages.

    Raises:
        ContractError: The contract is not JSON, has an unknown type, names a column twice, or an
            example breaks its own column.
    """
    try:
        return Contract.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{source}: {'.'.join(map(str, first['loc']))}"
        raise ContractError(f"{where}: {first['msg']}") from None


def _problem(path: list[str], kind: str, message: str) -> dict[str, Any]:
    return {"loc": ["body", *path], "msg": message, "type": kind}


def _safe(name: str) -> str:
    # A key may hold half a surrogate pair, which no answer could be encoded with.
    return name[:LONGEST_NAME].encode("utf-8", "replace").decode()
