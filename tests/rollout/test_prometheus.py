"""Counters from a real Prometheus that scrapes two servers with the app's own metrics."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from prometheus_client import start_http_server

from mlops_assets.lib.rollout_analysis.counters import Counters, grown, together
from mlops_assets.lib.rollout_analysis.sample import Sample, sample
from mlops_assets.resources.rollout_target import TargetError
from mlops_assets.rollout.prometheus import SELECTOR_VARIABLE, counters
from serving.metrics import Metrics
from tests.deploy.tools import program
from tests.s3 import free_ports
from tests.serving.server import wait_until


def test_counters_of_several_servers_come_from_prometheus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SELECTOR_VARIABLE, 'job="serving"')
    metrics, ports = [Metrics(["heart"]), Metrics(["heart"])], free_ports(3)
    servers = [
        start_http_server(port, "127.0.0.1", each.registry)
        for port, each in zip(ports, metrics, strict=False)
    ]
    scraped = {"targets": [f"127.0.0.1:{port}" for port in ports[:2]]}
    configuration = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
        "scrape_configs": [{"job_name": "serving", "static_configs": [scraped]}],
    }
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    command = [program("prometheus"), f"--config.file={tmp_path / 'prometheus.yaml'}"]
    command += [f"--storage.tsdb.path={tmp_path / 'data'}", "--log.level=error"]
    command += [f"--web.listen-address=127.0.0.1:{ports[2]}"]
    url = f"http://127.0.0.1:{ports[2]}"
    metrics[0].answered("heart", "champion", "1", 0.004)
    process = subprocess.Popen(command)
    try:

        def answered(condition: Callable[[dict[str, Counters]], bool]) -> Callable[[], bool]:
            def look() -> bool:
                try:
                    return condition(counters(url, "heart"))
                except TargetError:
                    return False

            return look

        wait_until(answered(lambda found: len(found) == 1), "the first server's")
        began = counters(url, "heart")
        for each in metrics:
            # A series that comes into being counts from its first value on.
            each.unanswered("heart", "challenger", "2", "failed")
            each.answered("heart", "champion", "1", 0.004)

        def since(now: dict[str, Counters]) -> Sample:
            parts = [grown(began.get(name, {}), part) for name, part in now.items()]
            return sample(together(parts), "1", "challenger", "2")

        def all_there(now: dict[str, Counters]) -> bool:
            found = since(now)
            return (found.champion.requests, found.trial.failed) == (2, 2)

        wait_until(answered(all_there), "what both have counted since")
        monkeypatch.setenv(SELECTOR_VARIABLE, "job=")
        with pytest.raises(TargetError, match="answered 400"):
            counters(url, "heart")
    finally:
        process.terminate()
        process.wait(timeout=15)
        for server, thread in servers:
            server.shutdown()
            server.server_close()
            thread.join()
    started = time.monotonic()
    with pytest.raises(TargetError, match="did not answer"):
        counters(url, "heart")
    assert time.monotonic() - started < 5
