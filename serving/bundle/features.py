"""Runs the feature SQL in DuckDB: the same statement that made the training features.

Speed decides the shape of this module. Planning costs DuckDB milliseconds a query, so the statement
is planned once (PREPARE). EXECUTE takes literals only, no bound parameters, and plans again unless
their types match. Hence one argument for any number of rows: a JSON text, cast to VARCHAR.
Measured for the heart-disease row (13 columns, 28 features): 0.5 ms, against 4.8 ms with bound
parameters; 32 rows at once take 0.9 ms.

Where the statement compiles to Python (`serving.bundle.compiler`) and is proven to give the same
bits, a row costs microseconds, and DuckDB is left with the rows that the function hands back. There
is no number of rows from which DuckDB is faster: 1024 at once still take it five times as long,
most of it for the JSON (`tests/benchmarks/features.py`).
"""

import json
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from serving.bundle.columns import Column
from serving.bundle.compiler.compiled import Compiled
from serving.bundle.compiler.plan import UnsupportedError, bound
from serving.bundle.compiler.proof import prove
from serving.bundle.deadlines import Deadlines
from serving.bundle.names import quoted, text
from serving.bundle.sql_check import ROW_ID, SOURCE, FeatureSqlError, check_sql

_MEMORY_LIMIT: Final = "256MB"
# One thread: requests run side by side on cursors, and a few rows are not worth splitting.
_THREADS: Final = 1
# The name under which a cursor sees the table of a batch job.
_TABLE: Final = "given_rows"
_NO_ROWS: Final = "'[]'"
# Of a query for the rows of a request; it takes a thousandth of that.
_MOST_SECONDS = 2.0
_DEADLINES: Final = Deadlines()
_NUMERIC: Final = ("INT", "FLOAT", "DOUBLE", "DECIMAL", "BOOLEAN")

log = logging.getLogger(__name__)


class FeatureError(ValueError):
    """A row that keeps the contract but that the feature SQL cannot compute."""


class FeatureRunner:
    """Computes features from validated rows; safe to call from several threads.

    Attributes:
        not_compiled: Why DuckDB computes every row; None if the compiled function does.
    """

    def __init__(self, sql: str, columns: Mapping[str, str], features: Sequence[str]) -> None:
        """Check the statement, lock the database down and plan the query.

        Args:
            sql: The content of `features.sql`.
            columns: The DuckDB type of each column of `input_rows`, without `row_id`.
            features: The features in the order the model wants them.

        Raises:
            FeatureSqlError: The statement is refused, or does not give these features as numbers.
        """
        made = check_sql(sql, columns)
        if sorted(made) != sorted(features):
            missing, extra = sorted(set(features) - set(made)), sorted(set(made) - set(features))
            raise FeatureSqlError(
                f"features.sql: differs from the manifest's features: missing {missing}, "
                f"not in the manifest {extra}"
            )
        self.not_compiled: str | None = "not asked for"
        self._compiled: Compiled | None = None
        self._sql = sql
        self._features = tuple(features)
        self._database = duckdb.connect(":memory:", config={"threads": _THREADS})
        self._database.execute(
            f"SET memory_limit = '{_MEMORY_LIMIT}'; SET temp_directory = '';"
            "SET enable_external_access = false; SET lock_configuration = true"
        )
        self._query = self._checked_query(sql, columns)
        self._table_query = self._query_of_table(sql, columns)
        # Idle cursors. A cursor serves one thread at a time; there are never more of them than
        # threads that ask at once. Taking and returning one is atomic.
        self._idle: deque[duckdb.DuckDBPyConnection] = deque([self._new_cursor()])

    def compile(self, columns: Sequence[Column], golden: Sequence[Mapping[str, Any]]) -> None:
        """Let a compiled function compute few rows, if it is proven to equal DuckDB.

        Otherwise DuckDB goes on computing them, and `not_compiled` tells why. Call it before the
        runner is shared between threads.

        Args:
            columns: The contract's columns.
            golden: Validated golden rows.
        """
        try:
            types = {column.name: column.duckdb_type for column in columns}
            compiled = Compiled(bound(self._sql, types, self._features), columns)
            prove(compiled, self._run_in_duckdb, self._features, columns, golden)
        except UnsupportedError as error:
            self.not_compiled = str(error)
            log.info("features are left to DuckDB", extra={"fields": {"reason": str(error)}})
        else:
            self._compiled, self.not_compiled = compiled, None

    def run(self, rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
        """Compute the features of rows.

        Args:
            rows: Validated rows, at least one; each holds every column of the contract.

        Returns:
            float32 `[n, features]` in the order of the rows; NaN where a feature is null.

        Raises:
            FeatureError: DuckDB cannot compute a row, or a feature is infinite.
        """
        if self._compiled is None:
            return self._run_in_duckdb(rows)
        found = self._compiled.run(rows)
        if None not in found:
            return self._array(found)
        left = [number for number, packed in enumerate(found) if packed is None]
        computed = self._run_in_duckdb([rows[number] for number in left])
        for number, values in zip(left, computed, strict=True):
            found[number] = values.tobytes()
        return self._array(found)

    def _array(self, packed: Sequence[bytes | None]) -> NDArray[np.float32]:
        # A bytearray: the array can be written to, as DuckDB's.
        values = np.frombuffer(bytearray(b"".join(filter(None, packed))), np.float32)
        return values.reshape(len(packed), len(self._features))

    def _run_in_duckdb(self, rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
        document = json.dumps([{ROW_ID: str(i), **row} for i, row in enumerate(rows)])
        cursor = self._take_cursor()
        try:
            with _DEADLINES.of(cursor, _MOST_SECONDS):
                # ASCII JSON: a quote is the only character in it with a meaning in SQL.
                found = cursor.execute(f"EXECUTE features({text(document)}::VARCHAR)").fetchall()
        except duckdb.InterruptException:
            raise FeatureError(f"features.sql took longer than {_MOST_SECONDS:g} s") from None
        except (duckdb.DataError, duckdb.InvalidInputException) as error:
            raise FeatureError(str(error).splitlines()[0][:200]) from None
        finally:
            self._idle.append(cursor)
        found.sort(key=lambda record: int(record[0]))
        values = np.array([record[1:] for record in found], dtype=np.float32)
        if values.shape != (len(rows), len(self._features)):
            raise RuntimeError(f"features.sql gave {len(found)} rows for {len(rows)}")
        self._refuse_infinite(values)
        return values

    def run_table(self, rows: Any) -> NDArray[np.float32]:
        """Compute the features of many rows by the same statement, without a JSON text between.

        Args:
            rows: A `pyarrow.Table` of validated rows: `row_id` and every column of the contract.

        Returns:
            float32 `[n, features]` in the order of the rows; NaN where a feature is null.

        Raises:
            FeatureError: DuckDB cannot compute a row, or a feature is infinite.
        """
        cursor = self._take_cursor()
        try:
            cursor.register(_TABLE, rows)
            try:
                found = cursor.execute(self._table_query).fetchnumpy()
            finally:
                cursor.unregister(_TABLE)
        except (duckdb.DataError, duckdb.InvalidInputException) as error:
            raise FeatureError(str(error).splitlines()[0][:200]) from None
        finally:
            self._idle.append(cursor)
        values = np.empty((len(rows), len(self._features)), dtype=np.float32)
        for position, name in enumerate(self._features):
            values[:, position] = found[name]
        self._refuse_infinite(values)
        return values

    def _refuse_infinite(self, values: NDArray[np.float32]) -> None:
        infinite = np.argwhere(np.isinf(values))
        if infinite.size:
            raise FeatureError(f"feature {self._features[infinite[0][1]]!r} is infinite")

    def _checked_query(self, sql: str, columns: Mapping[str, str]) -> str:
        types = {ROW_ID: "VARCHAR", **columns}
        # Field by field: unnest(..., max_depth := 2) says the same and takes 0.2 ms longer.
        fields = ", ".join(f"field[{text(name)}] AS {quoted(name)}" for name in types)

        def query(document: str) -> str:
            parsed = f"from_json_strict({document}, {text(json.dumps([types]))})"
            rows = f"SELECT {fields} FROM (SELECT unnest({parsed}) AS field)"
            return _over(rows, sql)

        try:
            described = self._database.execute(f"DESCRIBE {query(_NO_ROWS)}").fetchall()
        except duckdb.Error as error:
            raise FeatureSqlError(f"features.sql: {str(error).splitlines()[0]}") from None
        for name, kind, *_ in described:
            if name in self._features and not any(part in kind for part in _NUMERIC):
                raise FeatureSqlError(f"features.sql: {name!r} is {kind}, expected a number")
        floats = ", ".join(f"CAST({quoted(name)} AS FLOAT)" for name in self._features)
        return f"PREPARE features AS SELECT {ROW_ID}, {floats} FROM ({query('$1::VARCHAR')})"

    def _query_of_table(self, sql: str, columns: Mapping[str, str]) -> str:
        types = {ROW_ID: "VARCHAR", **columns}
        rows = ", ".join(f"CAST({quoted(n)} AS {kind}) AS {quoted(n)}" for n, kind in types.items())
        # NaN here and not in Python: a masked column would be copied twice.
        floats = ", ".join(
            f"coalesce(CAST({name} AS FLOAT), 'NaN'::FLOAT) AS {name}"
            for name in map(quoted, self._features)
        )
        return f"SELECT {floats} FROM ({_over(f'SELECT {rows} FROM {_TABLE}', sql)})"

    def _take_cursor(self) -> duckdb.DuckDBPyConnection:
        try:
            return self._idle.pop()
        except IndexError:
            return self._new_cursor()

    def _new_cursor(self) -> duckdb.DuckDBPyConnection:
        cursor = self._database.cursor()
        cursor.execute(self._query)
        return cursor


def _over(rows: str, sql: str) -> str:
    """The feature SQL with a query as its input."""
    # On its own lines: the statement may end in a comment.
    return f"WITH {SOURCE} AS ({rows}) SELECT * FROM (\n{sql.rstrip().rstrip(';')}\n)"
