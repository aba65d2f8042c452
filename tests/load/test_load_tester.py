"""The load tester against a server whose delays and faults are known."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.cli import main
from mlops_assets.load import Limits, LoadTester, Payloads
from mlops_assets.load.measured import percentile
from mlops_assets.load.payloads import read_rows
from tests.load.scripted import DIGEST
from tests.serving.bundles import CONTRACT, USE_CASE, desire, make_bundle
from tests.serving.server import ROOT, Server, wait_until

QUICK: dict[str, Any] = {"probability": 0.5}


class Scripted:
    """The server of `tests.load.scripted`, in a process of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.load.scripted"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def tester(self, *rows: Any, **options: Any) -> LoadTester:
        return LoadTester(self.url, Payloads.of(rows), warm_up=0.1, **options)

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def server() -> Iterator[Scripted]:
    running = Scripted()
    yield running
    running.stop()


@pytest.mark.parametrize(
    ("count", "share", "expected"),
    [(1, 0.5, 1), (1, 1.0, 1), (2, 0.5, 1), (100, 0.99, 99), (1000, 0.999, 999), (1001, 0.5, 501)],
)
def test_a_percentile_is_a_value_that_was_seen(count: int, share: float, expected: int) -> None:
    assert percentile(range(1, count + 1), share) == expected


def test_percentiles_are_those_of_the_server(server: Scripted) -> None:
    # One in five takes 80 ms.
    report = server.tester({"wait": 0.08}, *[QUICK] * 4).open(rate=200, seconds=1.5)
    assert report.requests == 300
    assert report.failed == 0
    assert report.statuses == {"200": 300}
    assert report.versions == {"1": 300}
    assert report.latency_ms["p50"] < 60
    for name in ("p90", "p99", "max"):
        assert report.latency_ms[name] >= 80
    assert report.latency_ms["p90"] < 160
    assert report.throughput == pytest.approx(200)


def test_an_open_loop_sees_the_stall_that_a_closed_one_hides(server: Scripted) -> None:
    rows = [QUICK] * 100 + [{"block": 0.6}]
    seen = server.tester(*rows).open(rate=100, seconds=2)
    hidden = server.tester(*rows).closed(connections=1, seconds=2)
    # 0.6 s of every 1.6 s: a third of all users wait, most of them for more than 100 ms.
    assert seen.latency_ms["p90"] > 150
    assert seen.latency_ms["max"] >= 600
    # One at a time, one in a hundred and one is slow.
    assert hidden.latency_ms["p95"] < 100


def test_connections_are_kept(server: Scripted) -> None:
    tester = server.tester({"tell_connection": True})
    assert len(tester.closed(connections=4, requests=80).versions) == 4
    # They are opened where none is free, and then there are enough of them.
    assert len(tester.open(rate=100, seconds=1).versions) < 20


def test_waiting_for_a_connection_counts(server: Scripted) -> None:
    report = server.tester({"wait": 0.05}).open(rate=40, seconds=1, connections=1)
    # It does 20 a second: the last of 44 requests waits for those before it, about a second.
    assert report.latency_ms["max"] > 800
    assert report.service_ms["p50"] < 200


def test_errors_are_counted_by_reason_and_do_not_flatter(server: Scripted) -> None:
    rows = [
        {"wait": 0.03},
        {"status": 503, "detail": "the queue is full"},
        {"status": 422, "detail": [{"loc": ["body", "age"], "msg": "9 is", "type": "missing"}]},
        {"drop": True},
        {"garbage": True},
        {"close": True, "wait": 0.03},
        {"wait": 30},
    ]
    report = server.tester(*rows, timeout=0.4).closed(connections=7, requests=14)
    assert report.requests == 14
    assert report.errors == {
        "status 503: the queue is full": 2,
        "status 422: missing at body.age": 2,
        "connection closed before the answer": 2,
        "answer is not HTTP": 2,
        "no answer in time": 2,
    }
    assert report.statuses == {"200": 4, "422": 2, "503": 2}
    # The refusals took next to no time; what was never answered waited for long.
    assert report.latency_ms["p50"] >= 30
    assert report.latency_ms["max"] >= 400


@pytest.mark.parametrize(
    ("row", "example"),
    [
        ({"probability": 0.6}, f"row 1: {DIGEST[:12]} answered 0.6, expected 0.5"),
        ({"body": {"probability": 0.5}}, "row 1: no digest or probability in"),
        (
            {"body": {"digest": "e" * 64, "probability": 0.5}},
            "row 1: answered by eeeeeeeeeeee, not served as the test began",
        ),
        ({"body": []}, "body 1: 0 predictions for 1 rows"),
        ({"probability": float("nan")}, f"row 1: {DIGEST[:12]} answered nan, expected 0.5"),
    ],
)
def test_a_wrong_answer_is_found_and_breaks_every_limit(
    server: Scripted, row: dict[str, Any], example: str
) -> None:
    payloads = Payloads.of([QUICK, row], expected={DIGEST: [0.5, 0.5]})
    report = LoadTester(server.url, payloads).closed(connections=1, requests=4)
    assert report.wrong == 2
    assert report.examples[0].startswith(example)
    assert Limits(errors=100).broken(report) == ["2 wrong answers, none is allowed"]


def test_batches_are_checked_row_by_row(server: Scripted) -> None:
    made = [{"version": "1", "digest": DIGEST, "probability": p} for p in (0.1, 0.2, 0.3, 0.4)]
    bodies = tuple(json.dumps({"body": {"predictions": made[i : i + 2]}}).encode() for i in (0, 2))
    payloads = Payloads(bodies, rows=2, expected={DIGEST: [0.1, 0.2, 0.3, 0.4]})
    report = LoadTester(server.url, payloads).closed(connections=2, requests=4)
    assert (report.wrong, report.largest_difference) == (0, 0.0)
    assert report.versions == {"1": 8}
    assert json.loads(Payloads.of([1, 2, 3, 4, 5], batch=2).bodies[1]) == [3, 4]


def test_a_server_that_dies_leaves_errors_and_no_wait() -> None:
    server = Scripted()
    killer = threading.Timer(0.6, server.stop)
    killer.start()
    started = time.monotonic()
    report = server.tester(QUICK).open(rate=100, seconds=1.5)
    killer.join()
    assert time.monotonic() - started < 8
    assert report.requests == 150
    assert 60 < report.failed < 150
    assert any("refused" in reason for reason in report.errors)
    with pytest.raises(OSError, match="refused"):
        server.tester(QUICK).closed(connections=2, seconds=1)


def test_the_command_says_which_limits_are_broken(
    server: Scripted,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"wait": 0.03, "key": "secret"}) + "\n" + json.dumps(QUICK) + "\n")
    command = ["load", server.url, "--rows", str(rows), "--rate", "100", "--seconds", "0.5"]
    command += ["--warm-up", "0"]
    monkeypatch.setenv("KEY", "secret")
    good = [*command, "--header-env", "X-API-Key=KEY", "--p99", "5s", "--throughput", "90"]
    assert main(good) == 0
    out = capsys.readouterr().out
    assert "50 requests" in out
    assert "| latency, from when it was due |" in out
    assert "Every limit is kept." in out
    # Without the key every other request is refused.
    assert main([*command, "--json", "--errors", "10%", "--p50", "10us", "--throughput", "90"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["errors"] == {"status 401: because": 25}
    assert "25 of 50 requests failed, limit 10.000%" in told["broken"]
    assert any("answers a second, limit 90" in line for line in told["broken"])
    assert any(line.startswith("p50 ") for line in told["broken"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--p99", "50"], "p99: '50' is not a time such as 50ms"),
        (["--errors", "few"], "'few' is not a number or a share"),
        (["--rate", "-1"], "rate: expected a number above 0, found -1.0"),
        (["--connections", "0"], "connections: expected a number above 0, found 0"),
        (["--header-env", "X-API-Key=NOT_SET_ANYWHERE"], "NOT_SET_ANYWHERE is not set"),
        (["--rows", "/does/not/exist.jsonl"], "/does/not/exist.jsonl"),
        (["--batch", "0"], "a request of 0 rows cannot be made"),
        (["--check", "nothing"], "no use case 'nothing'"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    server: Scripted,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text('[{"probability": 0.5}]')
    assert main(["load", server.url, "--rows", str(rows), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_file_of_rows_names_the_line_that_is_wrong(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"age": 1}\n\n{"age": \n')
    with pytest.raises(ValueError, match=r"rows\.jsonl: line 3 is not JSON"):
        read_rows(rows)
    rows.write_text("\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl: no rows"):
        read_rows(rows)


def test_the_serving_app_is_held_against_its_own_bundle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = make_bundle(tmp_path)
    other = make_bundle(tmp_path, seed=2)
    desire(tmp_path, built)
    monkeypatch.setenv("MLOPS_STORAGE_ROOT", str(tmp_path))
    server = Server(tmp_path)
    try:
        server.wait_for("1")
        url = f"http://127.0.0.1:{server.port}"
        command = ["load", url, "--seconds", "0.5", "--warm-up", "0", "--json"]
        # Without rows: the example that the server's own documentation shows.
        assert main([*command, "--connections", "2"]) == 0
        assert set(json.loads(capsys.readouterr().out)["versions"]) == {"1"}
        assert main([*command, "--connections", "4", "--check", USE_CASE]) == 0
        assert json.loads(capsys.readouterr().out)["largest_difference"] <= 1e-6
        # A desired state that this server does not follow: it answers with the wrong version.
        desire(tmp_path, other, environment="elsewhere")
        monkeypatch.setenv("MLOPS_ENVIRONMENT", "elsewhere")
        assert main([*command, "--connections", "4", "--check", USE_CASE]) == 1
        told = json.loads(capsys.readouterr().out)
        assert (
            f"answered by {built.digest[:12]}, not served as the test began" in told["examples"][0]
        )
    finally:
        server.stop()


def test_of_several_use_cases_one_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = {**CONTRACT, "use_case": "churn"}
    other = make_bundle(
        tmp_path,
        contract=contract,
        change_manifest=lambda manifest: manifest.update(use_case="churn"),
    )
    desire(tmp_path, make_bundle(tmp_path))
    state = {"schema_version": 1, "use_case": "churn", "environment": "dev"}
    desired = tmp_path / "churn" / "desired" / "dev.json"
    desired.parent.mkdir(parents=True)
    desired.write_text(json.dumps({**state, "roles": {"champion": other.role}}))
    monkeypatch.setenv("MLOPS_STORAGE_ROOT", str(tmp_path))
    server = Server(tmp_path, environ={"SERVING_USE_CASE": f"{USE_CASE},churn"})
    try:
        wait_until(lambda: server.client.get("/health/ready").status_code == 200, "both")
        url = f"http://127.0.0.1:{server.port}"
        command = ["load", url, "--seconds", "0.5", "--warm-up", "0", "--json"]
        assert main(command) == 2
        both = f"has several use cases: give --path /predict/{USE_CASE} or /predict/churn"
        assert both in capsys.readouterr().err
        for chosen in (["--path", "/predict/churn"], ["--check", USE_CASE]):
            assert main([*command, *chosen]) == 0
            told = json.loads(capsys.readouterr().out)
            assert told["path"] == f"/predict/{chosen[1].rpartition('/')[2]}"
        # Whoever is not answered has compared nothing.
        assert main([*command, "--check", USE_CASE, "--path", "/nowhere"]) == 1
        assert json.loads(capsys.readouterr().out)["largest_difference"] is None
    finally:
        server.stop()
