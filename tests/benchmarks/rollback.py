"""``python -m tests.benchmarks.rollback``: from the command to the old version's answer.

Two versions that answer with different thresholds; 200 requests a second come in all the time.
Target: at most 5 s, and no failed request.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from mlops_assets.lib.bundles.bundle import golden_rows
from mlops_assets.lib.bundles.sandbox import free_port
from mlops_assets.load import LoadTester, Payloads, Report
from tests.platform import DATA, HEART, Platform, impatient_spec, platform, serving
from tests.recovery.decisions import serve
from tests.versions import variant

ROUNDS = 5
RATE = 200
SECONDS = 12.0


def main() -> None:
    """Measure and print."""
    url = f"http://127.0.0.1:{free_port()}"
    spec = impatient_spec()
    with (
        tempfile.TemporaryDirectory() as scratch,
        platform(Path(scratch), url, spec=spec) as made,
    ):
        key = made.land(DATA / "heart_cleveland.csv")
        assert made.ingest(key).success
        assert made.run("retrain").success
        approved = made.ledger.entries()[-1]
        about = {
            name: approved[name] for name in ("version", "bundle", "path", "training_set", "wanted")
        }
        serve(made, made.ledger.append("promoted", {**about, "decision_of": 1, "actor": "test"}))
        second = variant(made, "2", 0.4)
        made.ledger.append("approved", second)
        serve(made, made.ledger.append("promoted", second))
        with serving(made):
            measured = [_round(made, to) for _ in range(ROUNDS) for to in ("1", "2")]
    answered = [seconds for seconds, _, _ in measured]
    finished = [seconds for _, seconds, _ in measured]
    requests = sum(report.requests for *_, report in measured)
    failed = sum(sum(report.errors.values()) for *_, report in measured)
    wrong = sum(report.wrong for *_, report in measured)
    print(f"{len(measured)} rollbacks, {RATE} requests a second beside them")
    for what, values in (("answers", answered), ("is in ledger and MLflow", finished)):
        median = statistics.median(values)
        print(f"the old version {what}: {median:.1f} s at the median, {max(values):.1f} at most")
    print(
        f"requests: {requests}, failed: {failed}, with a score that is not their version's: {wrong}"
    )


def _round(made: Platform, to: str) -> tuple[float, float, Report]:
    """One rollback under load.

    Returns:
        Seconds from the start of the command to the first answer of the old version, and to the end
        of the command; and what the load test found.
    """
    columns = [column.name for column in made.spec.contract.inputs]
    bundle = made.store.local(made.ledger.entries()[0]["path"])
    rows, scores = zip(*golden_rows(bundle, columns), strict=True)
    # Both versions score alike; their thresholds differ.
    expected = {entry["bundle"]: scores for entry in made.ledger.entries()}
    found: list[Report] = []
    tester = LoadTester(made.target.url, Payloads.of(rows, expected=expected), warm_up=1.0)
    load = threading.Thread(target=lambda: found.append(tester.open(RATE, SECONDS)))
    load.start()
    time.sleep(2.0)  # the load is on before the command starts
    command = [str(Path(sys.executable).parent / "mlops"), "rollback", HEART, "--to", to]
    environment = {
        **os.environ,
        "MLOPS_HOME": str(made.home),
        "MLOPS_SERVING_URL": made.target.url,
        "MLFLOW_TRACKING_URI": made.mlflow.tracking_uri,
    }
    started = time.monotonic()
    with subprocess.Popen([*command, "--reason", "test"], env=environment) as process:
        while made.target.predict(HEART, rows[0])["version"] != to:
            assert process.poll() in (None, 0), "the command has failed"
            time.sleep(0.02)
        answered = time.monotonic() - started
        assert process.wait(60) == 0
    finished = time.monotonic() - started
    load.join()
    return answered, finished, found[0]


if __name__ == "__main__":
    main()
