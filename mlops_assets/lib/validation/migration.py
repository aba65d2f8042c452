"""Batches that landed under an earlier version of the contract: brought up to date, or refused.

Raw data are never changed. A batch is validated from its raw rows each time the contract changes;
here its columns get the headers that the present contract has for them, before that.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.parquet import literal
from mlops_assets.lib.records.batches import Batches


@dataclass(frozen=True)
class Migration:
    """What is done with the raw rows of one batch.

    Attributes:
        columns: Headers as they are afterwards.
        refused: Why the batch is not taken; None where it is.
        renamed: New header by old one, of columns that it has.
        filled: Value as text, by column that it does not have.
        version: Of the contract that it landed under.
    """

    columns: list[str]
    refused: str | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    filled: Mapping[str, str | None] = field(default_factory=dict)
    version: int = 0

    @property
    def said(self) -> str:
        """What was done, in words; empty where nothing was."""
        done = [f"{old} is called {new} now" for old, new in self.renamed.items()]
        done += [f"{name} is {_shown(value)}" for name, value in self.filled.items()]
        return f"migrated from version {self.version}: {', '.join(done)}" if done else ""

    @contextmanager
    def applied(self, raw: Path) -> Iterator[Path]:
        """The raw rows under their present names, for as long as the block lasts.

        Args:
            raw: Parquet of text; it is what is given where nothing is to be done.
        """
        if not (self.renamed or self.filled):
            yield raw
            return
        import duckdb

        names = ", ".join(f"{_quoted(old)} as {_quoted(new)}" for old, new in self.renamed.items())
        renaming = f" rename ({names})" if names else ""
        filled = [f"?::varchar as {_quoted(name)}" for name in self.filled]
        with TemporaryDirectory() as scratch, duckdb.connect() as database:
            # In the order of the file: duplicates are told from the first by it.
            path = Path(scratch) / "migrated.parquet"
            database.execute(
                f"copy (select {', '.join([f'*{renaming}', *filled])} from read_parquet(?)) "
                f"to '{str(path).replace(chr(39), chr(39) * 2)}' (format parquet)",
                [*self.filled.values(), literal(raw)],
            )
            yield path


def landed_under(batches: Batches, key: str, contract: Contract) -> int:
    """The version of the contract that a batch landed under: the present one for a new batch.

    A batch of before this was recorded has the version that it was last validated by.
    """
    pointers = (batches.pointer(key, stage) or {} for stage in ("raw", "validated"))
    known = (pointer.get("contract_version") for pointer in pointers)
    return next((int(version) for version in known if version is not None), contract.version)


def migration(contract: Contract, landed: Mapping[str, Any]) -> Migration:
    """Say what is to be done with a batch.

    Args:
        contract: The present one.
        landed: The raw pointer of the batch: its ``columns`` and its ``contract_version``.
    """
    columns, version = list(landed["columns"]), landed["contract_version"]
    if version >= contract.version:
        return Migration(columns)
    earlier = contract.earlier
    if earlier.batches == "refuse":
        said = f"landed under version {version}; this contract takes from version "
        return Migration(columns, refused=f"{said}{contract.version} on")
    headers = {column.name: column.landed_name for column in contract.every_column}
    renamed = {
        old: headers[new]
        for old, new in earlier.renamed.items()
        if old in columns and headers[new] not in columns
    }
    named = [renamed.get(column, column) for column in columns]
    defaults = {headers[name]: _text(value) for name, value in earlier.defaults.items()}
    filled = {header: text for header, text in defaults.items() if header not in named}
    return Migration([*named, *filled], None, renamed, filled, version)


def _text(value: object) -> str | None:
    """A value as a file has it."""
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value: str | None) -> str:
    return "absent" if value is None else repr(value)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
