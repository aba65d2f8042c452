"""What a scrape of the exporter costs, on an instance with a long history.

python -m tests.benchmarks.exporter [--runs 5000] [--batches 5000] [--entries 1000]
"""

import argparse
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation
from dagster._core.test_utils import create_run_for_test

from mlops_assets.exporter.collector import Part, PlatformCollector
from mlops_assets.exporter.parts import of_dagster, of_storage
from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.records.batches import Batches
from mlops_assets.lib.records.ledger import GENESIS, Ledger
from mlops_assets.lib.storage.root import Storage
from tests.platform import HEART, quick_definitions, quick_spec

CHECKS = ["schema", "missing", "ranges", "quality", "key", "duplicates", "row_count", "warnings"]


def _fill_instance(instance: dg.DagsterInstance, home: Path, runs: int, batches: int) -> None:
    """Ended runs, and of each batch a materialisation and the answers of its checks.

    One of each is reported, and the rest are copies of its rows: reporting takes minutes.
    """
    job, key = f"{HEART}_ingest", dg.AssetKey([HEART, "validated"])
    tags = {"mlops/cpu_seconds": "20"}
    run = create_run_for_test(instance, job_name=job, tags=tags)
    instance.report_run_failed(run)
    instance.report_runless_asset_event(dg.AssetMaterialization(key, partition="batch"))
    for name in CHECKS:
        answer = AssetCheckEvaluation(
            key, name, passed=True, description="as it should be", blocking=True
        )
        instance.report_runless_asset_event(answer)
    history = home / "history"
    _copy(history / "runs.db", "runs", runs, "run_id")
    with closing(sqlite3.connect(history / "runs.db")) as connection, connection:
        connection.execute("update runs set update_timestamp = '2026-01-01 00:00:00'")
    _copy(history / "runs" / "index.db", "asset_check_executions", batches)
    _copy(history / "runs" / "index.db", "event_logs", batches)


def _copy(file: Path, table: str, times: int, unique: str = "") -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        columns = [row[1] for row in connection.execute(f"pragma table_info({table})")]
        columns.remove("id")
        values = [f"{name} || '-' || n" if name == unique else name for name in columns]
        connection.execute(
            f"with recursive many(n) as (select 1 union all select n + 1 from many where n < ?) "
            f"insert into {table} ({', '.join(columns)}) "
            f"select {', '.join(values)} from many, (select * from {table})",
            [times],
        )


def _fill_storage(store: Storage, batches: int, entries: int) -> None:
    start = datetime.now(UTC) - timedelta(days=100)
    known = Batches(store, HEART)
    for number in range(batches):
        key = f"batch-{number}"
        about = {"name": key, "path": key, "content": "", "digest": "", "size": 1}
        landed = (start + timedelta(minutes=number)).isoformat()
        store.write_json(
            f"{HEART}/batches/{key}/receipt.json", {"key": key, "landed_at": landed, **about}
        )
        rows = {"file": key, "rows": 300, "quarantined": 3, "quality": 99.0}
        known.point(key, "validated", {"digest": "", "input": "", **rows})
    ledger = Ledger(store, HEART)
    chained: list[dict[str, Any]] = []
    for number in range(entries):
        # As `append` does, which reads the whole chain each time.
        entry: dict[str, Any] = {
            "decision": "approved", "bundle": f"b{number}", "version": str(number), "batches": [],
            "use_case": HEART, "sequence": number + 1, "time": start.isoformat(),
            "previous": chained[-1]["hash"] if chained else GENESIS,
        }  # fmt: skip
        chained.append({**entry, "hash": digest_of(entry)})
        store.create_json(f"{ledger.prefix}/{number + 1:08d}.json", chained[-1])


def _show(name: str, parts: list[Part]) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    PlatformCollector(parts).collect()
    took, used = time.perf_counter() - began, time.process_time() - cpu
    slowest = sorted(parts, key=lambda part: -part.seconds)[:3]
    said = ", ".join(f"{part.name} {part.seconds * 1000:.0f} ms" for part in slowest)
    print(f"| {name} | {took * 1000:.0f} ms | {used * 1000:.0f} ms | {said} |")


def main() -> None:
    """Fill an instance and a storage, then scrape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--batches", type=int, default=5000)
    parser.add_argument("--entries", type=int, default=1000)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        store, home = Storage(folder / "storage"), folder / "dagster"
        home.mkdir()
        with dg.DagsterInstance.local_temp(str(home)) as instance:
            _fill_instance(instance, home, options.runs, options.batches)
            _fill_storage(store, options.batches, options.entries)
            parts = [*of_dagster(instance, quick_definitions(), [HEART])]
            parts += of_storage(store, [quick_spec()], "dev", lambda _: None)
            print(f"{options.runs} runs, {options.batches} batches, {options.entries} entries")
            print("| scrape | time | CPU | slowest parts |\n| --- | --- | --- | --- |")
            _show("first", parts)
            for part in parts:
                part._until = 0.0
            _show("later, everything anew", parts)
            _show("within 10 s", parts)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
