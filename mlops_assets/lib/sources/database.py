"""New rows of a query: each fetch reads on from the watermark, and lands Parquet files of text.

Three steps make a batch: write down what is about to land, land it, move the watermark. After a
kill between them the next fetch sees whether the file has landed, and reads its rows again if not.
"""

import json
import re
import tempfile
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from mlops_assets.lib.digests import file_digest
from mlops_assets.lib.sources.inbox import Fetched, Inbox, SourceError
from mlops_assets.lib.sources.spec import DatabaseSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import CursorResult, Engine

# Rows that are held in memory.
CHUNK_ROWS = 10_000
# A server that vanished is noticed after some two minutes, where the system's default is two hours.
PATIENCE = {
    "connect_timeout": 15,
    "keepalives_idle": 60,
    "keepalives_interval": 10,
    "keepalives_count": 6,
}

# What the state and a query's parameter can hold: a database compares text with its own times.
Watermark: TypeAlias = int | float | str


def errors() -> tuple[type[Exception], ...]:
    """What a database raises that does not do its part, or whose driver is not installed."""
    from sqlalchemy.exc import SQLAlchemyError

    return SQLAlchemyError, ImportError, OSError


def fetch(source: DatabaseSource, inbox: Inbox) -> Fetched:
    """Land the rows above the watermark, ``batch_rows`` at a time.

    Raises:
        SourceError: If the database lets nobody in, refuses the query or drops the connection, or
            if the result is not what the spec says. Batches that were complete have landed; the
            next fetch goes on behind them.
        Exception: One of ``errors``.
    """
    from sqlalchemy.exc import DBAPIError

    reading = _Reading(source, inbox)
    try:
        reading.run()
    except DBAPIError as error:
        raise SourceError(
            f"the database of {source.url_env} says: {str(error.orig).strip()} "
            f"({len(reading.fetched.landed)} batches have landed; the next fetch reads on above "
            f"{source.watermark} {reading.position})"
        ) from error
    reading.fetched.about |= {"rows": reading.rows, "watermark": str(reading.position)}
    return reading.fetched


class _Reading:
    """One reading of a query from its watermark to its end."""

    def __init__(self, source: DatabaseSource, inbox: Inbox) -> None:
        self.source = source
        self.inbox = inbox
        self.fetched = Fetched()
        self.rows = 0
        self.position: Watermark = self._recovered()

    def _recovered(self) -> Watermark:
        """The watermark up to which every row has landed."""
        state = self.inbox.state
        pending = state.get("pending")
        if pending and self.inbox.batches.has_landed(pending["name"], pending["content"]):
            state = {"watermark": pending["watermark"]}
            self.inbox.remember(state)
        position: Watermark = state.get("watermark", self.source.start)
        return position

    def run(self) -> None:
        """Read to the end. Rows of an equal watermark stay in one batch."""
        from sqlalchemy import bindparam, text
        from sqlalchemy.types import NullType

        # Without a type of its own the value takes that of the column it is compared with.
        query = text(self.source.query).bindparams(bindparam("watermark", type_=NullType()))
        engine = _engine(self.source, self.inbox)
        with tempfile.TemporaryDirectory() as folder, engine.connect() as connection:
            streamed = connection.execution_options(yield_per=CHUNK_ROWS)
            with streamed.execute(query, {"watermark": self.position}) as result:
                self._read(result, Path(folder) / "batch.parquet")

    def _read(self, result: "CursorResult[Any]", file: Path) -> None:
        columns = list(result.keys())
        at = self._column(columns)
        batch: _Batch | None = None
        before, reached = None, self.position
        for value, ties in groupby(result, key=itemgetter(at)):
            reached = self._reached(value, before)
            before = value
            batch = batch or _Batch(file, columns)
            for row in ties:
                batch.add(row)
            if batch.rows >= self.source.batch_rows:
                self._land(batch, reached)
                batch = None
        if batch:
            self._land(batch, reached)

    def _column(self, columns: list[str]) -> int:
        """Where the watermark is among the columns of the result."""
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise SourceError(f"the query gives a column twice: {', '.join(twice)}")
        if self.source.watermark not in columns:
            raise SourceError(
                f"the query gives no column {self.source.watermark}, the watermark; it gives "
                f"{', '.join(columns)}"
            )
        return columns.index(self.source.watermark)

    def _reached(self, value: Any, before: Any) -> Watermark:
        """A value of the watermark, as it is remembered."""
        name = self.source.watermark
        if isinstance(value, datetime) and value.tzinfo:
            value = value.astimezone(UTC)
        if before is not None and value is not None and value < before:
            raise SourceError(f"{name} falls: the query needs `order by {name}`")
        if isinstance(value, datetime):
            value = value.isoformat(sep=" ")
        elif isinstance(value, date | Decimal):
            value = str(value)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            said = "NULL" if value is None else type(value).__name__
            raise SourceError(f"{name} is {said} in a row; a watermark is a number or a time")
        reached: Watermark = value
        if reached == self.position:
            raise SourceError(
                f"{name} is that of the last fetch: the query needs `{name} > :watermark`"
            )
        return reached

    def _land(self, batch: "_Batch", reached: Watermark) -> None:
        file = batch.close()
        span = "-".join(_slug(end) for end in (self.position, reached))
        name = f"{self.source.name}-{span}.parquet"
        pending = {"name": name, "content": file_digest(file), "watermark": reached}
        self.inbox.remember({"watermark": self.position, "pending": pending})
        self.fetched.landed.append(self.inbox.land(file, name))
        self.inbox.remember({"watermark": reached})
        self.position = reached
        self.rows += batch.rows


class _Batch:
    """A Parquet file of text that grows row by row: types are the contract's business."""

    def __init__(self, file: Path, columns: "Sequence[str]") -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.rows = 0
        self._file = file
        self._schema = pa.schema([(name, pa.string()) for name in columns])
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")
        self._chunk: list[list[str | None]] = []

    def add(self, row: "Sequence[Any]") -> None:
        """Add a row.

        Raises:
            SourceError: If it holds bytes.
        """
        self.rows += 1
        self._chunk.append([self._text(at, value) for at, value in enumerate(row)])
        if len(self._chunk) == CHUNK_ROWS:
            self._write()

    def close(self) -> Path:
        """Write what is left, and give the whole file."""
        if self._chunk:
            self._write()
        self._writer.close()
        return self._file

    def _write(self) -> None:
        import pyarrow as pa

        columns = [pa.array(column, pa.string()) for column in zip(*self._chunk, strict=True)]
        self._writer.write_table(pa.table(columns, schema=self._schema))
        self._chunk = []

    def _text(self, at: int, value: Any) -> str | None:
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, datetime | date):
            return value.isoformat()
        if isinstance(value, Decimal):
            return f"{value:f}"
        if isinstance(value, list | dict):
            return json.dumps(value, ensure_ascii=False, default=str)
        if isinstance(value, bytes | memoryview):
            raise SourceError(
                f"column {self._schema.names[at]} holds bytes: leave it out of the query"
            )
        return str(value)


def _engine(source: DatabaseSource, inbox: Inbox) -> "Engine":
    """An engine that keeps no connection and shows no parameter."""
    from sqlalchemy import NullPool, create_engine, make_url

    try:
        url = make_url(inbox.secret(source.url_env))
    except Exception as error:  # whatever it says, it may be a part of the password
        raise SourceError(
            f"{source.url_env} is no SQLAlchemy URL: dialect://user:password@host:port/database"
        ) from error
    if url.password:
        inbox.hide(url.password)
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise SourceError(f"{source.url_env} names a SQLite file that is not there")
    patience = PATIENCE if url.drivername == "postgresql+psycopg" else {}
    return create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=patience)


def _slug(watermark: Watermark) -> str:
    """A watermark as a part of a file's name."""
    text = str(watermark).removesuffix("+00:00").replace(":", "")
    return re.sub(r"[^0-9A-Za-z]+", "-", text).strip("-")[:40]
