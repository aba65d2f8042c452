"""A day of answers with what turned out to be true of them, version by version.

A file of the log holds one bundle in one role, so each version keeps the types of its columns. Of
an answer the last label counts; it is joined by DuckDB, on disk where it has to be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.drift.answers import INPUT
from mlops_assets.lib.drift.sides import connected, identifier, parquet, types
from mlops_assets.lib.performance import told
from mlops_assets.lib.records.prediction_log import of_each_file, said_of

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# All that is read of an answer but the values of slices, so that a broken file is found at once.
PROBE = (
    "select role::varchar, version::varchar, digest::varchar, threshold::double, "
    "positive_class::varchar, count(prediction_id), sum(probability::double), "
    "max(time::timestamp) from {file} group by all"
)


@dataclass(frozen=True)
class Answers:
    """What one version answered on a day, in one role.

    Attributes:
        threshold: A probability at or above it is a positive answer.
        probability: Of the positive class, shape ``[n]``.
        target: 1 or 0 as the last label says, NaN where there is none, shape ``[n]``.
        lag: Seconds from the answer to its label, NaN where there is none, shape ``[n]``.
        slices: The columns to slice by that were recorded, ``n`` values each.
    """

    version: str
    role: str
    bundle: str
    threshold: float
    probability: Floats
    target: Floats
    lag: Floats
    slices: dict[str, pa.ChunkedArray]


class Day:
    """A day of answers, and of labels that may be about them.

    Attributes:
        said: What is wrong with files and labels.
    """

    def __init__(
        self, database: duckdb.DuckDBPyConnection, served: Path, labels: Sequence[Path]
    ) -> None:
        self.said: list[str] = []
        self._database = database
        self._parts: dict[tuple[Any, ...], list[Path]] = {}
        found, unread = of_each_file(database, served, PROBE)
        self.said += said_of(unread)
        for path, groups in found.items():
            for group in groups:
                self._parts.setdefault(group[:5], []).append(path)
        # No file may be readable: such a day has no answers, and says why.
        ids = parquet(*found) if found else told.EMPTY
        database.execute(f"create temp table ids as select distinct prediction_id from {ids}")
        self._join(labels)

    def _join(self, folders: Sequence[Path]) -> None:
        """Make a table of the last label of each answer."""
        readable: list[Path] = []
        for folder in folders:
            found, unread = of_each_file(self._database, folder, told.PROBE)
            readable += found
            self.said += [f"labels of {folder.name}: {said}" for said in said_of(unread)]
        relation = parquet(*readable) if readable else told.EMPTY
        self._database.execute(
            f"""create temp table labels as
            select prediction_id, count(distinct label) as kinds,
                max(struct_pack(time := time, label := label))
                    filter (where time is not null) as last
            from {relation} semi join ids using (prediction_id) group by prediction_id"""
        )
        row = self._database.execute("select count(*) from labels where kinds > 1").fetchone()
        if row and row[0]:
            self.said.append(f"{row[0]} answers have contradictory labels: the last one counts")

    def answers(self, negative: str, slices: Sequence[str]) -> Iterator[Answers]:
        """The answers of each version in each role.

        Args:
            negative: The other class than the positive one, as the log writes it.
            slices: Names of inputs.
        """
        for (role, version, bundle, threshold, positive), paths in sorted(self._parts.items()):
            relation = parquet(*paths)
            columns = types(self._database, relation)
            there = [name for name in slices if f"{INPUT}{name}" in columns]
            picked = "".join(f", {identifier(f'{INPUT}{name}')}" for name in there)
            found = self._database.sql(
                f"""with answered as (
                    select distinct on (prediction_id) prediction_id, time, probability {picked}
                    from {relation} where role = ? and version = ? and digest = ?
                )
                select probability,
                    case last.label when ? then 1.0 when ? then 0.0 else 'nan'::double end target,
                    coalesce(date_diff('us', answered.time, last.time) / 1e6, 'nan'::double) lag,
                    last.label is not null and last.label not in (?, ?) as odd {picked}
                from answered left join labels using (prediction_id)
                where probability between 0 and 1
                order by prediction_id""",
                params=[role, version, bundle, positive, negative, positive, negative],
            )
            table: pa.Table = found.to_arrow_table()
            odd = sum(table["odd"].to_pylist())
            if odd:
                self.said.append(
                    f"version {version} ({role}): {odd} labels are neither {negative} nor "
                    f"{positive}, and do not count"
                )
            yield Answers(
                version,
                role,
                bundle,
                threshold,
                table["probability"].to_numpy(),
                table["target"].to_numpy(),
                table["lag"].to_numpy(),
                {name: table[f"{INPUT}{name}"] for name in there},
            )

    def keep_ids(self, file: Path) -> None:
        """Write the ids of the answers, for labels that come later."""
        told.keep_ids(self._database, "ids", file)


@contextmanager
def day(served: Path, labels: Sequence[Path]) -> Iterator[Day]:
    """Open a day.

    Args:
        served: Folder with the files of the day's answers.
        labels: Folders of days with labels.
    """
    with connected() as database:
        yield Day(database, served, labels)
