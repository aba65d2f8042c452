"""The whole graph with its storage root in a bucket: landed file to answering champion."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlops_assets.lib.bundles.bundle import verify_stored
from mlops_assets.lib.bundles.sandbox import free_port
from mlops_assets.lib.records import current
from mlops_assets.operations.prune import Pruning
from tests.platform import DATA, HEART, Platform, answers, checks, platform


@contextmanager
def serving(made: Platform, root: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "serving", "--use-case", HEART]
    command += ["--port", made.target.url.rsplit(":", 1)[1], "--environment", "dev"]
    command += ["--log-spool", str(made.home / "spool")]
    process = subprocess.Popen(
        command, env=os.environ | {"MLOPS_STORAGE_ROOT": root}, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 30
        while not answers(made.target):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


def test_the_whole_graph_passes_on_s3(tmp_path: Path, s3_root: str) -> None:
    home = tmp_path / "platform"
    home.mkdir()
    with platform(home, f"http://127.0.0.1:{free_port()}", s3_root) as made:
        key = made.land(DATA / "heart_cleveland.csv")
        assert made.tick("landing").skip_reason is None
        ingested = made.ingest(key)
        assert ingested.success, checks(ingested)
        again = made.land(DATA / "heart_cleveland.csv", "copy.csv")
        assert not checks(made.ingest(again))["raw/not_a_duplicate"][0]

        retrained = made.run("retrain")
        assert retrained.success, checks(retrained)
        assert all(passed for passed, _ in checks(retrained).values())
        (approved,) = made.ledger.verify()
        assert approved["decision"] == "approved"
        manifest = verify_stored(made.store, approved["path"], approved["bundle"])
        assert [batch["key"] for batch in manifest["lineage"]["batches"]] == [key]
        tags = made.mlflow.client().get_model_version(HEART, approved["version"]).tags
        assert tags["source"] == f"{s3_root}/{approved['path']}"

        with serving(made, s3_root):
            deployed = made.run("deploy")
            assert checks(deployed)["rollout/smoke_test"][0], checks(deployed)
            model = made.target.model(HEART)
            assert (model["digest"], model["problem"]) == (approved["bundle"], None)
        decisions = [entry["decision"] for entry in made.ledger.verify()]
        assert decisions == ["approved", "rolling_out", "promoted"]

        # Everything may be lost but the bucket.
        shutil.rmtree(tmp_path / "home" / "cache")
        assert made.tick("retrain").run_requests == []
        assert made.tick("rollout").run_requests == []
        assert not [p for p in home.rglob("*.parquet") if "mlflow" not in p.parts]
        # What nothing points to goes, and what is needed stays.
        with made.store.writing(f"{HEART}/bundles/{'0' * 64}") as partial:
            partial.mkdir()
            (partial / "model.onnx").write_text("half")
        logged = made.store.list(f"{HEART}/served")
        with made.store.writing(f"{HEART}/served/day=2020-01-01/worker-000001.parquet") as partial:
            partial.write_text("rows")
        later = datetime.now(UTC) + timedelta(hours=1)
        pruned = Pruning(
            made.spec, made.store, made.instance, made.mlflow, dry_run=False, now=later
        )
        said = "\n".join(pruned.run())
        assert f"1 objects no kept version needs, 0.0 MB: {HEART}" in said
        assert "1 days of served, 0.0 MB" in said
        assert made.store.list(f"{HEART}/served") == logged
        assert made.store.list(f"{HEART}/bundles") == [approved["bundle"]]
        assert current.read(made.store, HEART, "registered_version") is not None
        verify_stored(made.store, approved["path"], approved["bundle"])
