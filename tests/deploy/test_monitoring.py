"""Rules, dashboards and routes of alerts, by the programs that will read them.

Every expression is asked of a real Prometheus that scraped the real app and the real exporter: an
expression that is valid and about a metric or a label that nobody exports would be silent for ever.
"""

import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
import yaml

from mlops_assets.exporter.collector import Part
from mlops_assets.exporter.runs import Runs
from mlops_assets.exporter.server import listening
from mlops_assets.lib.spec.alerts import Alerts
from tests.deploy.prometheus_rule import PLATFORM_RULES, RULES
from tests.deploy.tools import DEPLOY, program, run
from tests.exporter.history import history, parts
from tests.exporter.runs import run_tiny
from tests.platform import Platform
from tests.s3 import free_ports
from tests.serving.bundles import PAYLOAD, desire, make_bundle
from tests.serving.server import Server, wait_until

MONITORING = DEPLOY / "monitoring"
DASHBOARDS = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))
SECONDS = 25.0
# What Grafana puts in their place.
VARIABLES = {"$__rate_interval": "10s", "$namespace": ".*", "$use_case": ".*"}


def _rules(path: Path = RULES) -> list[dict[str, Any]]:
    groups = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize(
    ("path", "severities"),
    [(RULES, {"critical", "warning", "info"}), (PLATFORM_RULES, {"critical", "warning"})],
    ids=["serving", "platform"],
)
def test_rules_alert_when_they_should_and_not_before(path: Path, severities: set[str]) -> None:
    tests = path.with_suffix(".test.yaml")
    run("promtool", "check", "rules", path)
    run("promtool", "test", "rules", tests)
    asserted = yaml.safe_load(tests.read_text(encoding="utf-8"))["tests"]
    fired = {
        alert["alertname"]
        for test in asserted
        for alert in test.get("alert_rule_test", [])
        if alert["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in _rules(path) if "alert" in rule}
    levels = {rule["labels"]["severity"] for rule in _rules(path) if "alert" in rule}
    assert levels == severities


def test_the_levels_are_those_of_the_spec() -> None:
    levels, found = Alerts(), {}
    for rule in (*_rules(), *_rules(PLATFORM_RULES)):
        if limit := re.search(r"[<>] ([0-9.]+)(?: and .*)?$", rule["expr"].strip()):
            found[rule.get("alert"), rule.get("labels", {}).get("severity")] = float(limit[1])
    for alert, wanted in (
        ("ServingErrors", levels.error_rate),
        ("ServingSlow", levels.latency_p95_seconds),
    ):
        assert found[alert, "warning"] == wanted.warning
        assert found[alert, "critical"] == wanted.critical
    assert found["ModelAssetStale", "warning"] == 86400 * (levels.stale_days.live_drift or 0)


def test_prometheus_and_alertmanager_take_their_configurations() -> None:
    run("promtool", "check", "config", "--syntax-only", MONITORING / "prometheus.yaml")
    configuration = MONITORING / "alertmanager" / "alertmanager.yaml"
    run("amtool", "check-config", configuration)
    for severity in ("critical", "warning", "info"):
        routed = run(
            "amtool", "config", "routes", "test", f"--config.file={configuration}",
            f"severity={severity}",
        )  # fmt: skip
        assert routed.split() == [severity]
    receivers = yaml.safe_load(configuration.read_text(encoding="utf-8"))["receivers"]
    told = {each["name"]: {key for key in each if key != "name"} for each in receivers}
    assert told == {
        "critical": {"pagerduty_configs", "slack_configs"},
        "warning": {"slack_configs"},
        "info": {"email_configs"},
    }
    # A secret in the text would be in the repository.
    keys = re.findall(r"(\S*(?:key|password|api_url)\S*):", configuration.read_text())
    assert keys
    assert all(key.endswith("_file") for key in keys), keys


@dataclass(frozen=True)
class Expression:
    """What is asked of Prometheus.

    Attributes:
        where: A panel or a recording rule, for messages.
        text: The expression.
        labels: That its series must have, for the legend names them.
    """

    where: str
    text: str
    labels: frozenset[str] = frozenset()


def _of_dashboard(path: Path) -> Iterator[Expression]:
    board = json.loads(path.read_text(encoding="utf-8"))
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            text = target["expr"]
            for name, value in VARIABLES.items():
                text = text.replace(name, value)
            named = frozenset(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            # Environments are namespaces in a cluster only; what never happened has no reason yet.
            labels = named - {"namespace"} if "vector(0)" not in text else frozenset[str]()
            yield Expression(f"{board['title']}: {panel['title']}", text, labels)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_are_whole(path: Path) -> None:
    board = json.loads(path.read_text(encoding="utf-8"))
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}"
    variables = {each["name"] for each in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", path.read_text(encoding="utf-8")))
    assert {name for name in used if not name.startswith("__")} == variables
    assert board["uid"].startswith("mlops-")


@contextmanager
def _prometheus(folder: Path, serving: int, exporter: int) -> Iterator[httpx.Client]:
    """A real Prometheus that scrapes both and knows the rules, at a pace for tests.

    Args:
        folder: For its files.
        serving: Port of the app.
        exporter: Port of the exporter.
    """
    shipped = yaml.safe_load((MONITORING / "prometheus.yaml").read_text(encoding="utf-8"))
    ports = {"serving": serving, "exporter": exporter}
    scraped = [
        {
            "job_name": each["job_name"],
            "honor_labels": each.get("honor_labels", False),
            "static_configs": [{"targets": [f"127.0.0.1:{ports[each['job_name']]}"]}],
        }
        for each in shipped["scrape_configs"]
        if each["job_name"] in ports
    ]
    for path in (RULES, PLATFORM_RULES):
        rules = path.read_text(encoding="utf-8").replace("interval: 30s", "interval: 1s")
        (folder / path.name).write_text(rules, encoding="utf-8")
    configuration = {
        "global": {
            "scrape_interval": "500ms",
            "scrape_timeout": "500ms",
            "evaluation_interval": "1s",
        },
        "rule_files": [RULES.name, PLATFORM_RULES.name],
        "scrape_configs": scraped,
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    port = free_ports(1)[0]
    process = subprocess.Popen(
        [
            program("prometheus"),
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            wait_until(lambda: _answers(client), "Prometheus")
            yield client
    finally:
        process.terminate()
        process.wait(timeout=SECONDS)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").is_success
    except httpx.TransportError:
        return False


def _ask(client: httpx.Client, expression: str) -> list[Any]:
    answer = client.get("/api/v1/query", params={"query": expression}).json()
    assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
    found: list[Any] = answer["data"]["result"]
    return found


def _serve(root: Path) -> None:
    """A champion, a challenger with half of the traffic, and a shadow."""

    def profile(folder: Path) -> None:
        text = json.dumps({"rows": 100, "columns": {"age": {"minimum": 29, "maximum": 77}}})
        (folder / "reference.json").write_text(text, encoding="utf-8")

    built = [make_bundle(root, seed=seed, change_folder=profile) for seed in (1, 2, 3)]
    shares = {"champion": 100, "challenger": 50, "shadow": 100}
    roles = {
        name: {**each.role, "version": str(number), "percent": shares[name]}
        for number, (name, each) in enumerate(zip(shares, built, strict=True), 1)
    }
    desire(root, None, roles=roles, salt="pepper")


def _send(server: Server, number: int) -> None:
    ages = [45, 90] if number % 2 else [50]
    rows = [{**PAYLOAD, "age": age} for age in ages]
    headers = {"X-Entity-Id": str(number)}
    assert server.client.post("/predict", json=rows, headers=headers).is_success
    if number % 10 == 0:
        server.predict({"age": "none"})


@contextmanager
def _exporter(trained: Platform, folder: Path) -> Iterator[tuple[int, dg.DagsterInstance]]:
    """The exporter of a platform to which much has happened, and an instance for new runs."""
    home = folder / "dagster"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        run_tiny(instance)
        told = [part for part in parts(trained, history(trained, folder)) if part.name != "runs"]
        told.append(Part("runs", Runs(instance, ["tiny"]), kept_seconds=0.1))
        with listening(told, "127.0.0.1", 0) as port:
            yield port, instance


def test_every_expression_gives_data(
    tmp_path: Path, start_server: Any, trained: Platform, tmp_path_factory: pytest.TempPathFactory
) -> None:
    program("prometheus")
    _serve(tmp_path / "storage")
    server = start_server(tmp_path / "storage", environ={"SERVING_LOG_ROLL_SECONDS": "1"})
    server.wait_for("1")
    server.wait_for_challenger()
    wanted = [each for path in DASHBOARDS for each in _of_dashboard(path)]
    wanted += [Expression(rule["record"], rule["record"]) for rule in _rules() if "record" in rule]
    ruled = [rule["expr"] for path in (RULES, PLATFORM_RULES) for rule in _rules(path)]
    named = [*(each.text for each in wanted), *ruled]
    with (
        _exporter(trained, tmp_path_factory.mktemp("exporter")) as (exporter, instance),
        _prometheus(tmp_path, server.port, exporter) as client,
    ):
        wait_until(lambda: bool(_ask(client, "mlops_runs_total")), "the exporter")
        run_tiny(instance)
        told = httpx.get(f"http://127.0.0.1:{exporter}/metrics").text
        deadline, number = time.monotonic() + SECONDS, 0
        while wanted and time.monotonic() < deadline:
            for _ in range(20):
                number += 1
                _send(server, number)
            wanted = [
                each for each in wanted if not _has_data(_ask(client, each.text), each.labels)
            ]
            time.sleep(0.2)
        assert wanted == []
        # An alert has no data where all is well; what it asks about is there all the same.
        rules = client.get("/api/v1/rules").json()["data"]["groups"]
        health = {rule["name"]: rule["health"] for group in rules for rule in group["rules"]}
        assert set(health.values()) == {"ok"}
        quiet = {"ServingScoresDiffer", "ServingOutOfRange", "ServingShadowDisagrees"}
        firing = {r["name"] for g in rules for r in g["rules"] if r.get("state") == "firing"}
        assert not firing - quiet, firing
    told += server.client.get("/metrics").text
    exported = set(re.findall(r"^# TYPE (\S+)", told, re.MULTILINE))
    for expression in named:
        for name in re.findall(r"\b(?:serving|process|mlops)_[a-z0-9_]+\b(?=[{)\[])", expression):
            assert re.sub(r"_(bucket|sum|count)$", "", name) in exported, f"{name}: {expression}"


def _has_data(found: list[Mapping[str, Any]], labels: frozenset[str]) -> bool:
    return any(each["value"][1] != "NaN" and labels <= each["metric"].keys() for each in found)
