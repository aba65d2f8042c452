"""What the exporter tells of a real platform, and that what is broken breaks nothing else."""

import logging
import re
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from mlops_assets.cli import main
from mlops_assets.exporter.assets import Assets
from mlops_assets.exporter.collector import Part, PlatformCollector
from mlops_assets.exporter.metrics import BATCHES, MEASURES, Sample
from mlops_assets.exporter.parts import of_storage
from mlops_assets.exporter.runs import Runs
from mlops_assets.exporter.server import listening
from mlops_assets.lib.storage.root import Storage
from tests.exporter.history import history, parts
from tests.exporter.runs import run_tiny
from tests.platform import HEART, Platform

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
Told = dict[tuple[str, ...], float]
LABELS = {
    f"{each.name}{end}": each.labels
    for each in MEASURES
    for end in (("_count", "_sum") if each.kind == "summary" else ("",))
}


def told(made: Iterable[Part]) -> Told:
    """Each value by name and labels, as a scraper of OpenMetrics reads them."""
    registry = CollectorRegistry()
    registry.register(PlatformCollector(made))
    text = generate_latest(registry).decode()  # type: ignore[no-untyped-call]
    return {
        (sample.name, *(sample.labels[label] for label in LABELS[sample.name])): sample.value
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def month(trained: Platform, tmp_path_factory: pytest.TempPathFactory) -> Storage:
    return history(trained, tmp_path_factory.mktemp("month"))


def test_it_tells_of_data_decisions_and_traffic(trained: Platform, month: Storage) -> None:
    found = told(parts(trained, month))
    assert {key[1]: value for key, value in found.items() if "part_up" in key[0]} == dict.fromkeys(
        (
            "alert_levels", "assets", "batches", "delivery", "desired_state", "drift", "ledger",
            "mlflow", "performance", "runs",
        ),
        1,
    )  # fmt: skip
    assert found[("mlops_exporter_up",)] == 1
    (batch,) = trained.batches.receipts()
    assert found["mlops_batch_rows", HEART] == 303
    pointer = trained.batches.pointer(batch.key, "validated")
    assert pointer is not None
    assert found["mlops_batch_quality_score", HEART] == pointer["quality"]
    assert found["mlops_batch_quarantined_ratio", HEART] == 0
    for asset in ("raw", "validated", "candidates/xgboost", "promotion"):
        assert 0 <= found["mlops_asset_age_seconds", HEART, asset] < 7200
    checks = {key[2:] for key in found if key[0] == "mlops_check_failed"}
    assert {("validated", "schema"), ("evaluation", "floors"), ("promotion", "gate")} <= checks
    assert not any(value for key, value in found.items() if key[0] == "mlops_check_failed")
    assert found["mlops_check_warned", HEART, "validated", "warnings"] in (0, 1)

    entries = len(trained.ledger.entries()) + 5
    assert found["mlops_ledger_head_sequence", HEART] == entries
    assert found["mlops_decisions_total", HEART, "aborted"] == 1
    (version,) = [key[2:] for key in found if key[0] == "mlops_champion_info"]
    manifest = month.read_json(f"{HEART}/current/registered_version.json")
    assert manifest is not None
    assert version[0] == manifest["version"]
    evaluation = month.read_json(f"{HEART}/current/evaluation.json")
    assert evaluation is not None
    key = ("mlops_champion_metric", HEART, version[0], "roc_auc", "test")
    assert found[key] == evaluation["test"]["roc_auc"]["value"]
    assert found["mlops_desired_traffic_ratio", HEART, "champion", version[0]] == 1
    assert found["mlops_mlflow_champion_agrees", HEART] == 0  # nobody has told it
    assert found["mlops_delivery_deployments", HEART] == 1
    assert found["mlops_delivery_change_failure_ratio", HEART] == 0.5
    assert 0 < found["mlops_delivery_lead_time_seconds", HEART] < 7200

    assert found["mlops_drift_score", HEART, "days"] == 0.25
    assert found["mlops_drift_detected", HEART, "batches"] == 1
    live = {key[2:]: value for key, value in found.items() if key[0] == "mlops_live_metric"}
    assert live["1", "champion", "accuracy", "measured"] == 0.8
    assert live["2", "champion", "accuracy", "estimated"] == 0.5
    # Of two versions in one role, the one with the most rows; each kind of its own newest day.
    assert found["mlops_live_accuracy", HEART, "champion", "estimated"] == 0.85
    assert found["mlops_live_accuracy", HEART, "champion", "measured"] == 0.8
    ages = [found["mlops_live_day_age_seconds", HEART, kind] for kind in ("measured", "estimated")]
    assert ages[0] - ages[1] == pytest.approx(86_400, abs=1)
    assert found["mlops_label_lag_seconds", HEART] == 86_400
    assert found["mlops_alert_level", HEART, "accuracy", "critical"] == 0.7
    runs = {run.run_id for run in trained.instance.get_runs()}
    assert not any(label in {batch.key, *runs} for key in found for label in key)


def test_delivery_is_said_to_a_person(
    month: Storage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLOPS_STORAGE_ROOT", month.root)
    assert main(["delivery", HEART, "--days", "7"]) == 0
    said = capsys.readouterr().out
    assert "deployments          1 (1.0 a week)" in said
    assert "failed rollouts      1 of 2 (50%)" in said
    assert main(["delivery", HEART, "--days", "0"]) == 1
    assert "0 days are no window" in capsys.readouterr().err


def _away(_: str) -> str | None:
    raise ConnectionError("MLflow is away")


def test_what_is_broken_leaves_the_others(
    trained: Platform, month: Storage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = history(trained, tmp_path)
    made = [*of_storage(store, [trained.spec], "dev", _away)]
    for part in made:
        part._kept_seconds = 0.0
    entry = store.local(f"{HEART}/ledger/00000002.json")
    whole = entry.read_bytes()
    entry.write_bytes(whole.replace(b'"rolling_out"', b'"promoted"'))
    desired = store.local(f"{HEART}/desired/dev.json")
    desired.write_text("{", encoding="utf-8")
    for _ in range(2):
        found = told(made)
        down = {key[1] for key, value in found.items() if "part_up" in key[0] and not value}
        assert down == {"ledger", "delivery", "mlflow", "desired_state"}
        assert found["mlops_ledger_verified", HEART] == 0
        assert found["mlops_batch_rows", HEART] == 303
        assert found["mlops_live_accuracy", HEART, "champion", "measured"] == 0.8
        # What a broken ledger says is not told.
        assert ("mlops_ledger_head_sequence", HEART) not in found
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert sorted(said) == sorted(f"{part} of {HEART} cannot be told" for part in down)
    assert "entry 2: was edited after it was written" in caplog.text
    entry.write_bytes(whole)
    found = told(made)
    assert found["mlops_ledger_verified", HEART] == 1
    assert f"ledger of {HEART} can be told again" in caplog.text


def test_scrapes_share_what_was_asked(tmp_path: Path) -> None:
    asked = []

    def look() -> Iterator[Sample]:
        asked.append(1)
        yield Sample(BATCHES, ("tiny",), len(asked))

    with listening([Part("tiny", look)], "127.0.0.1", 0) as port:
        url = f"http://127.0.0.1:{port}/metrics"
        for _ in range(3):
            with urllib.request.urlopen(url) as answer:
                text = answer.read().decode()
        assert 'mlops_batches{use_case="tiny"} 1.0' in text
        assert "process_cpu_seconds_total" in text
        taken = pytest.raises(OSError, match=f"127.0.0.1:{port} cannot be listened on")
        with taken, listening([], "127.0.0.1", port):
            pass


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as made:
        yield made


def test_runs_are_counted_once_with_what_they_cost(instance: dg.DagsterInstance) -> None:
    run_tiny(instance)
    part = [Part("runs", Runs(instance, ["tiny", "idle"]), kept_seconds=0)]
    before = told(part)
    # What was there is not counted, and is known as the last.
    assert before["mlops_runs_total", "tiny", "success"] == 0
    assert before["mlops_last_run_timestamp_seconds", "tiny", "success"] > 0
    first, failed = run_tiny(instance), run_tiny(instance, fails=True)
    instance.add_run_tags(first, {"looked": "at"})
    found = told(part)
    assert found["mlops_runs_total", "tiny", "success"] == 1
    assert found["mlops_runs_total", "tiny", "failure"] == 1
    assert found["mlops_runs_total", "idle", "failure"] == 0
    assert found["mlops_run_seconds_count", "tiny", "success"] == 1
    assert found["mlops_run_cpu_seconds_sum", "tiny", "failure"] > 0.1
    assert found["mlops_last_run_cpu_seconds", "tiny", "failure"] > 0.1
    assert found["mlops_runs_active", "tiny", "queued"] == 0
    instance.add_run_tags(failed, {"mlops/cpu_seconds": "a lot"})
    instance.delete_run(first)
    again = told(part)
    # Pruning is no restart: nothing goes down.
    assert {k: v for k, v in again.items() if "_total" in k[0]} == {
        k: v for k, v in found.items() if "_total" in k[0]
    }


def test_a_check_that_raised_has_failed_and_one_that_warns_warns() -> None:
    def check(name: str, answer: Callable[[], bool], severity: str) -> dg.AssetChecksDefinition:
        @dg.asset_check(asset=dg.AssetKey([HEART, "rows"]), name=name)
        def asked() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=answer(), severity=dg.AssetCheckSeverity(severity))

        return asked

    @dg.asset(key=[HEART, "rows"])
    def rows() -> None: ...

    asked = [
        check("good", lambda: True, "ERROR"),
        check("bad", lambda: False, "ERROR"),
        check("advice", lambda: False, "WARN"),
        check("raises", lambda: bool(1 / 0), "ERROR"),
    ]
    keys = [key for each in asked for key in each.check_keys]
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([rows, *asked], instance=instance, raise_on_error=False)
        other = dg.AssetCheckKey(dg.AssetKey(["nobody", "rows"]), "good")
        found = told([Part("assets", Assets(instance, [HEART], [*keys, other]))])
    shown = {(*key[1:], key[0]): value for key, value in found.items() if "_check_" in key[0]}
    assert shown == {
        (HEART, "rows", "good", "mlops_check_failed"): 0,
        (HEART, "rows", "bad", "mlops_check_failed"): 1,
        (HEART, "rows", "advice", "mlops_check_warned"): 1,
        (HEART, "rows", "raises", "mlops_check_failed"): 1,
    }


def test_the_page_has_every_metric() -> None:
    lines = [
        f"| `{each.name}` | {', '.join(each.labels) or 'none'} | {each.kind} | {each.help} |"
        for each in MEASURES
    ]
    there = re.findall(r"^\| `mlops_.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert there == lines
    for each in MEASURES:
        assert each.name.endswith("_total") == (each.kind == "counter")
