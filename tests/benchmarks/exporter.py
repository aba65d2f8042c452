"""What a scrape of the exporter costs, on an instance with a long history.

python -m tests.benchmarks.exporter [--runs 5000] [--batches 2000] [--entries 1000]
"""

import argparse
import shutil
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.test_utils import create_run_for_test

from mlops_assets.exporter.collector import Part, PlatformCollector
from mlops_assets.exporter.parts import of_dagster, of_storage
from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.records.batches import Batches
from mlops_assets.lib.records.ledger import GENESIS, Ledger
from mlops_assets.lib.storage.root import Storage
from tests.platform import HEART, quick_definitions, quick_spec

CHECKS = 8


def _fill_instance(instance: dg.DagsterInstance, runs: int, batches: int) -> None:
    """Ended runs, and of each batch a materialisation and the answers of its checks."""
    for number in range(runs):
        create_run_for_test(
            instance,
            job_name=f"{HEART}_ingest",
            status=dg.DagsterRunStatus.SUCCESS,
            tags={"mlops/cpu_seconds": f"{number % 60}"},
        )
    key, answers = dg.AssetKey([HEART, "validated"]), ["schema", "missing", "ranges", "quality"]
    run = create_run_for_test(instance, job_name=f"{HEART}_ingest")
    for number in range(batches):
        made = dg.AssetMaterialization(key, partition=f"batch-{number}")
        instance.report_runless_asset_event(made)
        for name in (*answers, "key", "duplicates", "row_count", "warnings")[:CHECKS]:
            answer = AssetCheckEvaluation(
                asset_key=key, check_name=name, passed=True, metadata={},
                target_materialization_data=None, severity=dg.AssetCheckSeverity.ERROR,
                description="as it should be", blocking=True, partition=None,
            )  # fmt: skip
            event = DagsterEvent(
                DagsterEventType.ASSET_CHECK_EVALUATION.value, run.job_name,
                event_specific_data=answer,
            )  # fmt: skip
            instance.report_dagster_event(event, run.run_id)


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
    parser.add_argument("--batches", type=int, default=2000)
    parser.add_argument("--entries", type=int, default=1000)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        store, home = Storage(folder / "storage"), folder / "dagster"
        home.mkdir()
        with dg.DagsterInstance.local_temp(str(home)) as instance:
            _fill_instance(instance, options.runs, options.batches)
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
