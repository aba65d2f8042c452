"""The report that a person opens: Evidently's, on a bounded sample of both sides."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.drift.sides import Column, Pair, connected, identifier
from mlops_assets.lib.drift.window import Window

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

# Each is a picture in the page; the largest effects come first.
MOST_COLUMNS = 50


class NothingToDrawError(Exception):
    """There is nothing that Evidently could draw; the message says why."""


@dataclass(frozen=True)
class Verdict:
    """What Evidently's default preset says of the sample.

    Attributes:
        drifted: Columns that it finds drifted.
        columns: Of how many.
        share: From which share on it calls the window drifted.
        rows: Of the sample, of the reference and of the current rows.
    """

    drifted: int
    columns: int
    share: float
    rows: tuple[int, int]

    def __str__(self) -> str:
        """In a sentence."""
        word = "drifted" if self.drifted >= self.share * self.columns else "not drifted"
        return (
            f"{word}: {self.drifted} of {self.columns} columns, from {self.share:.0%} on a window "
            f"counts ({self.rows[0]} reference and {self.rows[1]} current rows were drawn)"
        )


def draw(pairs: Sequence[Pair], window: Window, rows: int, page: Path) -> Verdict:
    """Draw Evidently's report of what decides about a window.

    Args:
        pairs: What was compared.
        window: Its verdict: the order of the columns.
        rows: How many of each side, chosen by the hash of their values.
        page: The HTML file to write.

    Raises:
        NothingToDrawError: If no column has values on both sides.
    """
    order = [f.measured.name for f in window.findings if f.decides]
    with connected() as database:
        sides = [_sample(database, pairs, set(order), rows, side) for side in (0, 1)]
    reference, current = sides
    names = [n for n in order if all(n in s.columns and s[n].notna().any() for s in sides)]
    if not names:
        raise NothingToDrawError("no column has values on both sides")
    names = names[:MOST_COLUMNS]
    numeric = {c.name for pair in pairs for c in pair.columns if c.numeric}
    with warnings.catch_warnings():
        # Of Evidently and what it uses, about samples of few values.
        warnings.simplefilter("ignore")
        return _draw(reference[names], current[names], [n for n in names if n in numeric], page)


def _draw(
    reference: pd.DataFrame, current: pd.DataFrame, numeric: list[str], page: Path
) -> Verdict:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    others = [name for name in reference.columns if name not in numeric]
    definition = DataDefinition(numerical_columns=numeric, categorical_columns=others)
    sides = [Dataset.from_pandas(side, data_definition=definition) for side in (current, reference)]
    snapshot = Report([DataDriftPreset()]).run(*sides)
    snapshot.save_html(str(page))
    counted: dict[str, Any] = next(
        metric for metric in snapshot.dict()["metrics"] if "DriftedColumns" in metric["metric_name"]
    )
    return Verdict(
        drifted=int(counted["value"]["count"]),
        columns=len(reference.columns),
        share=float(counted["config"]["drift_share"]),
        rows=(len(reference), len(current)),
    )


def _sample(
    database: duckdb.DuckDBPyConnection,
    pairs: Sequence[Pair],
    wanted: set[str],
    rows: int,
    side: int,
) -> pd.DataFrame:
    """Some rows of one side, under the names that people know. Categories are text."""
    import pandas as pd

    parts = []
    for pair in pairs:
        columns = [c for c in pair.columns if c.name in wanted and c.kind != "feature"]
        if not columns:
            continue
        values = ", ".join(f"{_value(c, side)} as {identifier(c.name)}" for c in columns)
        relation = (pair.reference, pair.current)[side]
        parts.append(
            database.execute(
                f"select * from (select {values} from {relation}) t order by hash(t) limit {rows}"
            ).df()
        )
    return pd.concat(parts, axis=1)


def _value(column: Column, side: int) -> str:
    name = identifier((column.reference, column.current)[side])
    return f"try_cast({name} as double)" if column.numeric else f"{name}::varchar"
