"""What the gate's comparison costs: ``python -m tests.benchmarks.judging [rows]``.

Half of the rows are new to the champion, which scores them; challenger and champion are as good as
each other, so that drift is asked for, too. Target: a million rows within a minute and 1 GiB.
"""

import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mlops_assets.lib.comparison.delong import delong
from mlops_assets.lib.comparison.judge import judge
from mlops_assets.lib.storage.root import Storage
from serving.bundle.loaded import Bundle
from tests.benchmarks.measuring import measured
from tests.lib.comparison.versions import Version, batch, register, spec
from tests.lib.helpers import TINY


def prepare(root: str, rows: int) -> tuple[Version, dict[str, Any]]:
    """Write a champion, and the files of a challenger of so many rows; give it and the lineage."""
    store = Storage(root)
    champion = register(store, [batch(Path(root) / "batches", "one", 1000, 1)])
    folder = store.local(f"{TINY}/training_sets")
    known = folder / champion.lineage["training_set"] / "inputs.parquet"
    made, theirs = folder / "challenger", champion.predictions(store)
    mine = store.local(f"{TINY}/candidates/challenger")
    made.mkdir()
    mine.mkdir()
    ids = [f"b-{n}" for n in range(rows)]
    inputs = pq.read_table(known)
    inputs = inputs.take(np.arange(rows) % len(inputs)).set_column(0, "row_id", [ids])
    pq.write_table(inputs, made / "inputs.parquet", row_group_size=100_000)
    bundle = Bundle.load(store.local(champion.path), champion.digest, TINY)
    some = range(0, rows, 50_000)
    answers = [bundle.predict_table(inputs.slice(first, 50_000)) for first in some]
    random = np.random.default_rng(1)
    score = np.concatenate(answers)
    sides = np.where(random.random(rows) < 0.2, "test", "train")
    target = (random.random(rows) < score).astype(np.int8)
    batches = np.where(np.arange(rows) % 2, "two", "one")
    columns = {"row_id": ids, "batch": batches, "side": sides, "target": target}
    pq.write_table(pa.table(columns), made / "rows.parquet")

    def write_scores(path: Path, which: Any) -> None:
        near = np.clip(score + random.normal(scale=0.01, size=rows), 0, 1)[which]
        given = {"row_id": np.array(ids)[which], "side": sides[which], "probability": near}
        pq.write_table(pa.table({**given, "out_of_fold": near}), path)

    write_scores(mine / "predictions.parquet", slice(None))
    write_scores(theirs, slice(0, None, 2))
    store.write_json(f"{TINY}/evaluations/challenger.json", {"candidates": {"a": "b"}})
    return champion, dict.fromkeys(("training_set", "candidate", "evaluation"), "challenger")


def contest(root: str, champion: Version, lineage: dict[str, Any]) -> tuple[str, float]:
    """Judge the challenger; say what was found, and the seconds of CPU."""
    crowned = champion.entry("promoted", datetime.now(UTC).isoformat())
    start = time.process_time()
    found = judge(Storage(root), spec(), "0" * 64, lineage, crowned, [crowned])
    seconds = time.process_time() - start
    return f"{found.verdict.said}; {found.promotion.why}", seconds


def areas(rows: int) -> tuple[float, float]:
    """DeLong alone: the standard error, and the seconds of CPU."""
    random = np.random.default_rng(1)
    target = (random.random(rows) < 0.3).astype(np.float64)
    one, other = (target + random.normal(size=rows) for _ in range(2))
    start = time.process_time()
    return delong(target, one, other).standard_error, time.process_time() - start


def main() -> None:
    """Print seconds and peak memory of the processes."""
    rows = int(sys.argv[1]) if sys.argv[1:] else 1_000_000
    with tempfile.TemporaryDirectory() as root:
        (champion, lineage), *_ = measured(prepare, root, rows)
        (said, cpu), seconds, peak = measured(contest, root, champion, lineage)
    print(f"judge, {rows:,} rows: {seconds:.1f} s ({cpu:.1f} of CPU), {peak:.0f} MiB\n  {said}")
    (_, cpu), seconds, peak = measured(areas, 3 * rows)
    print(f"DeLong alone, {3 * rows:,} rows: {seconds:.1f} s ({cpu:.1f} of CPU), {peak:.0f} MiB")


if __name__ == "__main__":
    main()
