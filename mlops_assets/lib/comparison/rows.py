"""The rows on which challenger and champion are compared: only scores that are honest.

A score is honest if its model was not trained on the row. The challenger's training rows have an
out-of-fold score, its test rows that of its model. The champion has the same for the rows of its
own training set; what it has never seen it scores now, by the code of the serving app.

What grows with the data are a few narrow columns; inputs pass through some thousand rows at a time.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.parquet import literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from serving.bundle.loaded import Bundle

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

SLICE_ROWS = 50_000
MOST_THREADS = 8


class NoComparisonError(Exception):
    """Champion and challenger cannot be compared; the message says why."""


@dataclass(frozen=True)
class Files:
    """What the rows are read from.

    Attributes:
        rows: ``rows.parquet`` of the challenger's training set.
        inputs: Its ``inputs.parquet``, in the same order.
        challenger: ``predictions.parquet`` of the challenger's candidate, in the same order.
        champion: The same of the champion's candidate; None if it is gone.
        champion_batches: What the champion's training set was made of.
    """

    rows: Path
    inputs: Path
    challenger: Path
    champion: Path | None
    champion_batches: frozenset[str]


@dataclass(frozen=True)
class JointRows:
    """Every row of the challenger's training set, in the order of its file; shape ``[n]`` each.

    Attributes:
        target: 0 or 1.
        test: Whether the row is on the test side.
        challenger: Its score; NaN where no fold scored the row.
        champion: Its score; NaN where it has no honest one.
        trained_on: Whether the champion was trained on the row.
        never_seen: Whether the row is in no part of the champion's training set.
        left_out: Rows without an honest score, by reason.
    """

    target: Floats
    test: Flags
    challenger: Floats
    champion: Floats
    trained_on: Flags
    never_seen: Flags
    left_out: dict[str, int]

    @property
    def judged(self) -> Flags:
        """The rows that both have an honest score of."""
        import numpy as np

        found: Flags = ~(np.isnan(self.challenger) | np.isnan(self.champion))
        return found


def joint_rows(files: Files, bundle: Bundle) -> JointRows:
    """Bring the scores of both together.

    Args:
        files: Of both.
        bundle: The champion, loaded.

    Raises:
        NoComparisonError: If the champion reads a column that the inputs do not have, or have as
            another type, or if it cannot compute a row.
    """
    import numpy as np

    _refuse_another_contract(bundle, files.inputs)
    columns = _stored(files)
    test, known = columns["test"].astype(bool), columns["known"].astype(bool)
    champion = columns["champion"]
    gone = ~known & columns["own_batch"].astype(bool) & (files.champion is None)
    never_seen = ~known & ~gone
    _score(bundle, files.inputs, never_seen, champion)
    challenger = columns["challenger"]
    left_out = {
        "no fold scored the row for the challenger": np.isnan(challenger),
        "no fold scored the row for the champion": known & np.isnan(champion),
        "the champion's own scores are gone": gone,
    }
    return JointRows(
        target=columns["target"],
        test=test,
        challenger=challenger,
        champion=champion,
        trained_on=columns["trained_on"].astype(bool),
        never_seen=never_seen,
        left_out={why: int(rows.sum()) for why, rows in left_out.items() if rows.any()},
    )


def _stored(files: Files) -> dict[str, Floats]:
    """Everything that is known without the champion's model, by column, in the file's order."""
    import duckdb
    import numpy as np

    nobody = "select null::varchar as row_id, null as side, null::double as score where false"
    honest = "case side when 'train' then out_of_fold else probability end as score"
    theirs = f"select row_id, side, {honest} from read_parquet($champion)"
    given = {
        "rows": literal(files.rows),
        "challenger": literal(files.challenger),
        "batches": sorted(files.champion_batches),
    }
    if files.champion is not None:
        given["champion"] = literal(files.champion)
    with duckdb.connect() as database:
        database.execute("set enable_progress_bar = false")
        found = database.execute(
            f"""
            with
            mine as (select row_id, {honest} from read_parquet($challenger)),
            theirs as ({nobody if files.champion is None else theirs})
            select r.target::double as target, r.side = 'test' as test,
                   coalesce(m.score, 'nan') as challenger, coalesce(t.score, 'nan') as champion,
                   t.row_id is not null as known, coalesce(t.side = 'train', false) as trained_on,
                   list_contains($batches::varchar[], r.batch) as own_batch
            from read_parquet($rows, file_row_number = true) r
            join mine m using (row_id) left join theirs t using (row_id)
            order by r.file_row_number
            """,
            given,
        ).fetchnumpy()
    return {name: np.ma.getdata(values) for name, values in found.items()}


def _refuse_another_contract(bundle: Bundle, inputs: Path) -> None:
    """Refuse inputs that are not what the champion was made to read."""
    import duckdb

    with duckdb.connect() as database:
        described = database.execute(
            "select column_name, column_type from (describe select * from read_parquet(?))",
            [literal(inputs)],
        ).fetchall()
    there: dict[str, str] = dict(described)
    for name, kind in bundle.contract.duckdb_types.items():
        if there.get(name) != kind:
            now = f"is {there[name]} now" if name in there else "is gone"
            raise NoComparisonError(
                f"the contract has changed: the champion reads {name} as {kind}, which {now}"
            )


def _score(bundle: Bundle, inputs: Path, wanted: Flags, scores: Floats) -> None:
    """Write the champion's scores of the wanted rows into their places."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from serving.bundle.features import FeatureError

    columns = ["row_id", *bundle.contract.duckdb_types]
    metadata = pq.read_metadata(inputs)
    starts = [0]
    for group in range(metadata.num_row_groups):
        starts.append(starts[-1] + metadata.row_group(group).num_rows)

    def score_group(group: int) -> None:
        first = starts[group]
        if not wanted[first : starts[group + 1]].any():
            return
        file = pq.ParquetFile(inputs)
        for batch in file.iter_batches(SLICE_ROWS, row_groups=[group], columns=columns):
            places = slice(first, first + len(batch))
            these = wanted[places]
            first += len(batch)
            if these.any():
                rows: Any = pa.Table.from_batches([batch.filter(pa.array(these))])
                scores[places][these] = bundle.predict_table(rows)

    # DuckDB and ONNX Runtime let go of the interpreter.
    pool = ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, MOST_THREADS))
    try:
        list(pool.map(score_group, range(metadata.num_row_groups)))
    except FeatureError as error:
        raise NoComparisonError(f"the champion cannot compute a new row: {error}") from None
    finally:
        pool.shutdown(cancel_futures=True)
