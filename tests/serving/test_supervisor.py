"""Workers that crash, are killed, multiply and stop."""

import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from serving.supervisor import _turn_away
from tests.serving.bundles import CONTRACT, PAYLOAD, USE_CASE, desire, make_bundle, write_state
from tests.serving.server import Server, wait_until

Start = Callable[..., Server]


def workers(server: Server) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children()


def notes_of(server: Server) -> Path:
    worker = workers(server)[0]
    wait_until(lambda: "SERVING_WORKER_OF" in worker.environ(), "its program")
    return Path(json.loads(worker.environ()["SERVING_WORKER_OF"])["notes"])


def ended(server: Server) -> list[dict[str, Any]]:
    return [line for line in server.log if line["message"].startswith("worker ended")]


def test_what_was_on_trial_in_a_crash_comes_back_off(tmp_path: Path, start_server: Start) -> None:
    champion, challenger = make_bundle(tmp_path, 1), make_bundle(tmp_path, 2)
    roles = {"champion": champion.role, "challenger": {**challenger.role, "percent": 100}}
    desire(tmp_path, None, roles=roles)
    server = start_server(tmp_path)
    server.wait_for("1")
    wait_until(lambda: server.predict(PAYLOAD).json()["version"] == "2", "the challenger")

    (worker,) = workers(server)
    worker.send_signal(signal.SIGSEGV)
    wait_until(lambda: len(ended(server)) == 1, "the crash to be noticed")
    # Nobody is turned away meanwhile: the supervisor holds the socket.
    answer = httpx.post(f"{server.client.base_url}/predict", json=PAYLOAD, timeout=15)
    while answer.status_code == 503:
        answer = httpx.post(f"{server.client.base_url}/predict", json=PAYLOAD, timeout=15)
    assert (answer.json()["version"], answer.json()["role"]) == ("1", "champion")
    (note,) = ended(server)
    assert (note["cause"], note["turned_off"]) == ("SIGSEGV", [challenger.digest])
    server.reconnect()
    wait_until(lambda: server.model()["on_trial"]["challenger"]["problem"] is not None, "why")
    trial = server.model()["on_trial"]["challenger"]
    assert trial["problem"] == (
        "version 2 is off: a worker crashed with SIGSEGV while it was on trial"
    )
    assert (trial["serves"], server.model()["problem"]) == (False, None)

    # A worker that was killed from outside says nothing about who was on trial.
    third = make_bundle(tmp_path, 3)
    desire(tmp_path, None, roles={**roles, "challenger": {**third.role, "percent": 100}})
    wait_until(lambda: server.predict(PAYLOAD).json()["version"] == "3", "the next challenger")
    (worker,) = workers(server)
    worker.kill()
    wait_until(lambda: len(ended(server)) == 2, "the kill to be noticed")
    assert "turned_off" not in ended(server)[1]
    server.reconnect()
    wait_until(lambda: server.predict(PAYLOAD).json().get("version") == "3", "it to answer again")


def test_a_crash_turns_off_the_trials_of_every_use_case(
    tmp_path: Path, start_server: Start
) -> None:
    trials = {}
    for use_case in ("churn", USE_CASE):
        contract = {**CONTRACT, "use_case": use_case}
        champion, trial = (make_bundle(tmp_path, n, contract=contract) for n in (1, 2))
        trials[use_case] = trial.digest
        roles = {"champion": champion.role, "challenger": trial.role}
        path = desire(tmp_path, None, roles=roles, use_case=use_case)
        place = tmp_path / use_case / "desired" / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    server = start_server(tmp_path, environ={"SERVING_USE_CASE": ",".join(trials)})

    def problems() -> list[str | None]:
        told = [server.client.get(f"/model/{name}").json()["on_trial"] for name in trials]
        return [each.get("challenger", {"problem": "none yet"})["problem"] for each in told]

    wait_until(lambda: problems() == [None, None], "both challengers")
    (worker,) = workers(server)
    worker.send_signal(signal.SIGSEGV)
    wait_until(lambda: len(ended(server)) == 1, "the crash to be noticed")
    assert ended(server)[0]["turned_off"] == sorted(trials.values())
    server.reconnect()
    off = "version 2 is off: a worker crashed with SIGSEGV while it was on trial"
    wait_until(lambda: problems() == [off, off], "both to be off")
    for name in trials:
        assert server.client.post(f"/predict/{name}", json=PAYLOAD).json()["version"] == "1"


def test_notes_that_are_gone_come_back(tmp_path: Path, start_server: Start) -> None:
    first, second, third = (make_bundle(tmp_path, n) for n in (1, 2, 3))
    desire(tmp_path, first)
    server = start_server(tmp_path, environ={"SERVING_WORKERS": "2"})
    server.wait_for("1")
    notes = notes_of(server)
    wait_until(lambda: len(list(notes.glob("ready-*.json"))) == 2, "both workers")
    shutil.rmtree(notes)
    assert server.client.get("/metrics").status_code == 200
    roles = {"champion": second.role, "challenger": {**third.role, "percent": 0}}
    desire(tmp_path, None, roles=roles)
    server.wait_for("2")
    server.wait_for_challenger()
    assert server.model()["problem"] is None
    wait_until(lambda: len(list(notes.glob("*.json"))) == 6, "all that was noted")
    text = server.client.get("/metrics").text
    assert 'serving_requests_total{route="/metrics",status="200"}' in text
    # Who starts anew counts together with whoever does, and is no reason to stop.
    first_worker, second_worker = workers(server)
    first_worker.kill()
    wait_until(lambda: len(ended(server)) == 1, "the kill to be noticed")
    wait_until(lambda: (notes / "metrics").is_dir(), "a worker that shares its metrics")
    assert second_worker in workers(server)
    server.reconnect()
    for _ in range(4):
        assert httpx.get(f"{server.client.base_url}/metrics").status_code == 200
    assert server.stop() == 0


def test_a_worker_that_cannot_serve_leaves_clients_to_one_that_can(
    tmp_path: Path, start_server: Start
) -> None:
    built = make_bundle(tmp_path, 1)
    desire(tmp_path, built)
    server = start_server(tmp_path, environ={"SERVING_WORKERS": "2"})
    server.wait_for("1")
    notes = notes_of(server)
    wait_until(lambda: len(list(notes.glob("ready-*.json"))) == 2, "both workers")
    model = built.folder / "model.onnx"
    good = model.read_bytes()
    model.write_bytes(b"damaged")
    workers(server)[0].kill()
    wait_until(lambda: any("takes no clients" in line for line in server.lines), "the new worker")

    def ask() -> int:
        return httpx.post(f"{server.client.base_url}/predict", json=PAYLOAD).status_code

    assert {ask() for _ in range(20)} == {200}
    model.write_bytes(good)
    wait_until(lambda: len(list(notes.glob("ready-*.json"))) == 2, "both workers again")
    # With nobody left who can, there is nobody to wait for.
    model.write_bytes(b"damaged")
    for worker in workers(server):
        worker.kill()
    wait_until(lambda: len(ended(server)) == 3, "the kills to be noticed")
    assert ask() == 503


def test_two_workers_add_up(tmp_path: Path, start_server: Start) -> None:
    desire(tmp_path, make_bundle(tmp_path, 1))
    server = start_server(tmp_path, environ={"SERVING_WORKERS": "2"})
    wait_until(
        lambda: sum('"message": "serving"' in line for line in server.lines) >= 2, "both workers"
    )
    asked = 40

    def ask(_: int) -> int:
        # A connection each: one that is kept stays with its worker.
        return httpx.post(f"{server.client.base_url}/predict", json=PAYLOAD).status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ask, range(asked))) == {200}
    for _ in range(4):
        text = httpx.get(f"{server.client.base_url}/metrics").text
        assert f'serving_requests_total{{route="/predict",status="200"}} {asked}.0' in text
        assert text.count("serving_bundle_info{") == 1
    first, second = workers(server)
    first.kill()
    wait_until(lambda: second in workers(server) and len(workers(server)) == 2, "a new worker")
    wait_until(
        lambda: sum('"message": "serving"' in line for line in server.lines) >= 3, "it to be ready"
    )
    text = httpx.get(f"{server.client.base_url}/metrics").text
    assert f'serving_requests_total{{route="/predict",status="200"}} {asked}.0' in text
    assert server.stop() == 0


def test_workers_are_as_ready_as_the_worst_of_them(tmp_path: Path, start_server: Start) -> None:
    desire(tmp_path, None)
    server = start_server(tmp_path, environ={"SERVING_WORKERS": "2"})

    def asked() -> str:
        text = httpx.get(f"{server.client.base_url}/metrics").text
        return next(line for line in text.splitlines() if line.startswith("serving_ready{"))

    def told(value: str) -> bool:
        # Whoever of them is asked.
        return {asked() for _ in range(4)} == {f'serving_ready{{use_case="{USE_CASE}"}} {value}'}

    wait_until(lambda: sum("withdrawn" in line for line in server.lines) >= 2, "both workers")
    assert told("0.0")
    stopped, other = workers(server)
    stopped.suspend()
    desire(tmp_path, make_bundle(tmp_path, 1))
    wait_until(
        lambda: httpx.get(f"{server.client.base_url}/health/ready").status_code == 200, "the other"
    )
    assert told("0.0")
    stopped.kill()
    wait_until(lambda: len(ended(server)) == 1, "the kill to be noticed")
    wait_until(lambda: len(workers(server)) == 2, "a new worker")
    wait_until(lambda: told("1.0"), "both to be ready")
    assert other in workers(server)


def test_a_stop_loses_no_request(tmp_path: Path, start_server: Start) -> None:
    desire(tmp_path, make_bundle(tmp_path, 1))
    server = start_server(tmp_path, environ={"SERVING_DRAIN_SECONDS": "1"})
    server.wait_for("1")
    wrong: list[Any] = []
    sent_away = threading.Event()
    answered = 0

    def ask() -> None:
        nonlocal answered
        with httpx.Client(base_url=server.client.base_url, timeout=10) as client:
            while not sent_away.is_set():
                answer = client.post("/predict", json=PAYLOAD)
                answered += 1
                if answer.status_code != 200:
                    wrong.append(answer.text)
                if answer.headers.get("connection") == "close":
                    sent_away.set()

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ask) for _ in range(4)]
        wait_until(lambda: answered > 50, "load")
        server.process.terminate()
        for each in asking:
            each.result()
    assert wrong == []
    assert sent_away.is_set()
    assert httpx.get(f"{server.client.base_url}/health/ready").json()["status"] == "draining"
    assert server.stop() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="sockets have no filters")
def test_who_has_connected_is_accepted_when_nobody_else_can() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, socket.create_connection(listener.getsockname()):
        _turn_away(listener)
        with pytest.raises(TimeoutError):
            socket.create_connection(listener.getsockname(), timeout=0.3)
        listener.accept()[0].close()


def test_a_worker_that_starts_anew_serves_what_served(tmp_path: Path, start_server: Start) -> None:
    built = make_bundle(tmp_path, 1)
    desire(tmp_path, built)
    server = start_server(tmp_path)
    server.wait_for("1")
    gone = {**built.role, "version": "2", "bundle": "heart_disease/none"}

    def break_the_file() -> None:
        write_state(tmp_path, "{broken")

    def name_what_is_gone() -> None:
        desire(tmp_path, None, roles={"champion": gone})

    for number, (spoil, problem) in enumerate(
        ((break_the_file, "cannot be read"), (name_what_is_gone, "none")), start=1
    ):
        spoil()
        server.wait_for_problem(problem)
        (worker,) = workers(server)
        worker.kill()
        wait_until(lambda number=number: len(ended(server)) == number, "the kill to be noticed")  # type: ignore[misc]
        server.reconnect()
        # Who asks meanwhile waits; nobody is told that nothing serves.
        answer = server.predict(PAYLOAD)
        assert (answer.status_code, answer.json()["version"]) == (200, "1")
        assert server.model()["problem"] is not None
    # What was withdrawn does not come back.
    desire(tmp_path, None)
    server.wait_for_problem("withdrawn")
    (worker,) = workers(server)
    worker.kill()
    wait_until(lambda: len(ended(server)) == 3, "the kill to be noticed")
    server.reconnect()
    assert server.predict(PAYLOAD).status_code == 503


def test_workers_outlive_no_supervisor(tmp_path: Path, start_server: Start) -> None:
    desire(tmp_path, make_bundle(tmp_path, 1))
    server = start_server(tmp_path)
    server.wait_for("1")
    (worker,) = workers(server)
    server.process.kill()
    worker.wait(timeout=15)


def test_workers_that_keep_crashing_end_the_server(tmp_path: Path, start_server: Start) -> None:
    server = start_server(tmp_path)
    wait_until(lambda: bool(workers(server)), "a worker")
    folder = notes_of(server)
    while server.process.poll() is None:
        for worker in workers(server):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)
        wait_until(lambda: bool(workers(server)) or server.process.poll() is not None, "a worker")
    assert server.stop() == 1
    assert server.log[-1]["message"] == "workers keep crashing"
    assert not folder.exists()
