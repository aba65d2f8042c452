"""The contract: the columns of a use case, said once.

Validation, the tables that dbt reads, the request schema of the serving app and the drift profile
are all derived from it, so that they cannot disagree.
"""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from mlops_assets.lib.contract.column import Column, ColumnName
from mlops_assets.lib.contract.earlier import Earlier
from mlops_assets.lib.contract.target import Target
from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.spec.model import Model


class Contract(Model):
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
        target = self.target.as_column()
        names, headers = {target.name: "the target"}, {target.landed_name: "the target"}
        twice = []
        for index, column in enumerate(self.columns):
            if column.name in names:
                said = f"the name {column.name} is that of {names[column.name]}, too"
                twice.append(f"columns.{index}: {said}")
            elif column.landed_name in headers:
                said = f"{column.landed_name} of a landed file is {headers[column.landed_name]}"
                twice.append(f"columns.{index}: the header {said}, too")
            names.setdefault(column.name, "another column")
            headers.setdefault(column.landed_name, f"column {column.name}")
        if twice:
            raise ValueError("\n".join(twice))
        by_name = {column.name: column for column in self.columns}
        for field, name in self._identifying:
            found = by_name.get(name)
            if found is None:
                raise ValueError(f"{field}: no such column in the contract: {name}")
            if found.nullable or found.pii == "drop":
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
            if said := column.refused_by_serving(example=value):
                raise ValueError(f"earlier.defaults: {said}")
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
