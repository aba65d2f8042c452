"""What is compared: relations that DuckDB reads, and the columns that two of them share.

Every figure is about one column at a time, so a window is any number of pairs of relations, and
rows of the one are never matched with rows of the other.
"""

from __future__ import annotations

import glob
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import duckdb

Kind = Literal["input", "feature", "score"]
# Of DuckDB's own; the process takes some hundred MB on top.
MEMORY = "1GB"


@dataclass(frozen=True)
class Column:
    """A column that is compared.

    Attributes:
        name: As people know it.
        kind: Features are row-wise functions of the inputs. They are shown and decide nothing.
        numeric: Whether it is described by numbers, and not by the shares of its values.
        reference: Its name in the reference.
        current: Its name in the current rows.
    """

    name: str
    kind: Kind
    numeric: bool
    reference: str
    current: str


@dataclass(frozen=True)
class Pair:
    """Two relations, as SQL that stands behind ``from``, and what is compared of them."""

    reference: str
    current: str
    columns: list[Column]


@contextmanager
def connected() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database for one window: in memory, which is bounded, and on disk past that."""
    import duckdb

    with (
        tempfile.TemporaryDirectory(prefix="mlops-drift-") as spill,
        duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": spill}) as database,
    ):
        database.execute("set enable_progress_bar = false")
        yield database


def parquet(*files: Path) -> str:
    """Parquet files as a relation; quotes, brackets and stars stand for themselves."""
    names = ", ".join("'" + glob.escape(str(file)).replace("'", "''") + "'" for file in files)
    return f"read_parquet([{names}], union_by_name = true)"


def identifier(name: str) -> str:
    """A name of a column, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def types(database: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    """The type of each column of a relation."""
    query = f"select column_name, column_type from (describe select * from {relation})"
    return dict(database.execute(query).fetchall())


def count(database: duckdb.DuckDBPyConnection, relation: str) -> int:
    """The rows of a relation."""
    found = database.execute(f"select count(*) from {relation}").fetchone()
    assert found is not None
    return int(found[0])
