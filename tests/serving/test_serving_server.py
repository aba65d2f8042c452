import copy
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.bundles import CONTRACT, PAYLOAD, ROWS, desire, make_bundle
from tests.serving.models import not_a_number_at_99
from tests.serving.server import Server, wait_until

Start = Callable[..., Server]


def test_from_nothing_to_serving_to_withdrawn(tmp_path: Path, start_server: Start) -> None:
    server = start_server(tmp_path)
    get = server.client.get

    problem = server.wait_for_problem("no desired state")
    assert problem["ready"] is False
    assert problem["version"] is problem["desired"] is problem["features"] is None
    assert get("/health/live").status_code == 200
    assert get("/health/startup").json() == {"status": "started"}
    ready = get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
    answer = server.predict(PAYLOAD)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json() == {"detail": "nothing to serve at present; GET /model tells why"}
    assert get("/openapi.json").json()["components"]["schemas"]["Row"] == {"type": "object"}

    built = make_bundle(tmp_path, 3)
    desire(tmp_path, built)
    server.wait_for("3")
    assert get("/health/ready").json() == {
        "status": "ready",
        "use_cases": {"heart_disease": {"version": "3", "problem": None}},
    }
    for row in ROWS:
        answer = server.predict(row)
        assert answer.status_code == 200
        found = answer.json()
        assert found["probability"] == pytest.approx(built.probability(row), abs=1e-5)
        assert found["class"] == int(found["probability"] >= 0.5)
        assert found["label"] == ("disease" if found["class"] else "no disease")
        assert found["digest"] == built.digest
        assert (found["version"], found["use_case"]) == ("3", "heart_disease")
        assert found["threshold"] == 0.5
        assert len(bytes.fromhex(found["prediction_id"])) == 16
    model = server.model()
    assert model["ready"] is True
    assert model["problem"] is None
    assert model["desired"] == {"version": "3", "digest": built.digest}
    assert model["bundle"] == built.path
    assert model["algorithm"] == "logistic_regression"
    assert model["lineage"]["training_set"] == "a" * 64
    (role,) = model["roles"].items()
    assert role == (
        "champion",
        {
            "version": "3",
            "digest": built.digest,
            "percent": 100,
            "loaded_at": model["loaded_at"],
            "features_by": "duckdb" if model["not_compiled"] else "compiled",
        },
    )
    card = model["card"]
    assert card["target"]["positive"] == {"value": 1, "label": "disease"}
    assert [column["name"] for column in card["contract"]["columns"]] == list(PAYLOAD)
    assert (card["training_rows"], card["golden_rows"], card["explains"]) == (100, len(ROWS), True)

    desire(tmp_path, None)
    server.wait_for_problem("withdrawn")
    assert server.predict(PAYLOAD).status_code == 503
    assert get("/health/ready").status_code == 503
    assert server.model()["ready"] is False
    assert server.stop() == 0
    assert {line["level"] for line in server.log} == {"INFO", "WARNING"}


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for tests that change nothing: version 1, with a model that fails at age 99."""
    root = tmp_path_factory.mktemp("steady")
    desire(root, make_bundle(root, change_folder=not_a_number_at_99))
    server = Server(root)
    server.wait_for("1")
    yield server
    server.stop()


def test_storage_that_does_not_answer_holds_up_nothing(tmp_path: Path, start_server: Start) -> None:
    # Opening a pipe that nobody writes to blocks for ever.
    state = desire(tmp_path, None)
    state.unlink()
    os.mkfifo(state)
    server = start_server(tmp_path)
    get = server.client.get
    assert get("/health/live").status_code == 200
    startup = get("/health/startup")
    assert (startup.status_code, startup.json()) == (503, {"status": "starting"})
    assert get("/health/ready").status_code == 503
    assert server.predict(PAYLOAD).status_code == 503
    assert server.stop() == 0


def test_requests_that_are_refused(steady: Server) -> None:
    server, client = steady, steady.client

    answer = server.predict({**PAYLOAD, "cp": 9, "age": None, "secret-of-a-patient": 1})
    assert answer.status_code == 422
    assert answer.json()["detail"] == [
        {"loc": ["body", "age"], "msg": "must have a value; got null", "type": "missing"},
        {"loc": ["body", "cp"], "msg": "must be one of 0, 1, 2, 3; got 9", "type": "enum"},
        {
            "loc": ["body", "secret-of-a-patient"],
            "msg": "is not a column of this contract",
            "type": "extra_forbidden",
        },
    ]
    answer = server.predict({**PAYLOAD, "oldpeak": 1e39})
    assert (answer.status_code, answer.json()["detail"][0]["type"]) == (422, "feature_error")
    for body in (b"", b"{", b'{"age": NaN}', b'"\\ud800"', b"\xff", b"[" * 100_000):
        assert client.post("/predict", content=body).status_code == 422

    large = json.dumps({**PAYLOAD, "note": "x" * (1 << 20)}).encode()
    for content in (large, iter([large[:100], large[100:]])):
        answer = client.post("/predict", content=content)
        assert answer.status_code == 413
        assert answer.json() == {"detail": "the body is larger than 1048576 bytes"}
    just_fits = json.dumps({**PAYLOAD, "note": "x" * 1_000_000}).encode()
    assert client.post("/predict", content=just_fits).status_code == 200

    assert client.post("/predict/heart_disease", json=PAYLOAD).status_code == 200
    answer = client.post("/predict/churn", json=PAYLOAD)
    assert answer.status_code == 404
    assert answer.json() == {"detail": "this server serves heart_disease only"}
    assert client.get("/predict").status_code == 405
    assert client.get("/made/up/path").status_code == 404
    assert (client.get("/").status_code, client.get("/").headers["location"]) == (307, "/docs")
    assert "secret-of-a-patient" not in "".join(server.lines)


def test_metrics(tmp_path: Path, start_server: Start) -> None:
    built = make_bundle(tmp_path)
    desire(tmp_path, built)
    server = start_server(tmp_path)
    server.wait_for("1")
    for _ in range(3):
        server.predict(PAYLOAD)
    server.predict({})
    server.client.post("/predict/heart_disease", json=PAYLOAD)
    for number in range(20):
        server.client.get(f"/made/up/{number}")
        server.client.post(f"/predict/made-up-{number}")
    answer = server.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = answer.text.splitlines()
    outcome = int(built.probability(PAYLOAD) >= 0.5)
    of = 'use_case="heart_disease"'
    for line in (
        'serving_requests_total{route="/predict",status="200"} 3.0',
        'serving_requests_total{route="/predict",status="422"} 1.0',
        'serving_requests_total{route="/predict/{use_case}",status="404"} 20.0',
        'serving_requests_total{route="other",status="404"} 20.0',
        'serving_request_seconds_count{route="/predict"} 4.0',
        f'serving_stage_seconds_count{{stage="queue",{of}}} 4.0',
        f'serving_stage_seconds_count{{stage="features",{of}}} 4.0',
        f'serving_stage_seconds_count{{stage="model",{of}}} 4.0',
        f"serving_batch_rows_count{{{of}}} 4.0",
        f'serving_predictions_total{{class="{outcome}",role="champion",{of},version="1"}} 4.0',
        f'serving_prediction_probability_count{{role="champion",{of},version="1"}} 4.0',
        f'serving_bundle_info{{digest="{built.digest}",role="champion",{of},version="1"}} 1.0',
        f"serving_ready{{{of}}} 1.0",
        f"serving_swaps_total{{{of}}} 1.0",
        f"serving_bundle_failures_total{{{of}}} 0.0",
    ):
        assert line in lines
    assert "/made" not in answer.text
    assert "made-up" not in answer.text
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)


def test_openapi_shows_the_contract_that_serves(tmp_path: Path, start_server: Start) -> None:
    desire(tmp_path, make_bundle(tmp_path, 1))
    server = start_server(tmp_path)
    server.wait_for("1")

    def row() -> dict[str, Any]:
        schema = server.client.get("/openapi.json").json()
        for path in ("/predict", "/predict/{use_case}"):
            body = schema["paths"][path]["post"]["requestBody"]["content"]["application/json"]
            one = {"$ref": "#/components/schemas/Row"}
            many = {"type": "array", "items": one, "minItems": 1, "maxItems": 1000}
            assert body["schema"] == {"anyOf": [one, many]}
            assert body["examples"]["heart_disease"]["value"] == PAYLOAD
        found: dict[str, Any] = schema["components"]["schemas"]["Row"]
        return found

    assert row()["example"] == PAYLOAD
    assert server.predict(row()["example"]).status_code == 200
    assert row()["properties"]["age"]["maximum"] == 110
    assert server.predict({**PAYLOAD, "age": 120}).status_code == 422
    contract = copy.deepcopy(CONTRACT)
    contract["columns"][0]["maximum"] = 120
    desire(tmp_path, make_bundle(tmp_path, 2, contract=contract))
    server.wait_for("2")
    assert row()["properties"]["age"]["maximum"] == 120
    assert server.predict({**PAYLOAD, "age": 120}).status_code == 200


def test_bad_bundle_leaves_the_last_good_one(tmp_path: Path, start_server: Start) -> None:
    good = make_bundle(tmp_path, 1)
    bad = make_bundle(
        tmp_path, 2, change_golden=lambda rows: rows[0].update(expected_probability=0.123)
    )
    desire(tmp_path, good)
    server = start_server(tmp_path)
    server.wait_for("1")
    desire(tmp_path, bad)
    model = server.wait_for_problem("probability: expected 0.123, computed")
    assert (model["ready"], model["version"]) == (True, "1")
    assert model["desired"] == {"version": "2", "digest": bad.digest}
    ready = server.client.get("/health/ready")
    assert ready.status_code == 200
    assert "expected 0.123" in ready.json()["use_cases"]["heart_disease"]["problem"]
    assert server.predict(PAYLOAD).json()["version"] == "1"
    desire(tmp_path, good)
    server.wait_for_problem("")
    assert server.predict(PAYLOAD).status_code == 200
    assert server.stop() == 0
    assert sum("expected 0.123" in line.get("problem", "") for line in server.log) == 1


def test_swaps_under_load_fail_nobody(tmp_path: Path, start_server: Start) -> None:
    bundles = {str(seed): make_bundle(tmp_path, seed) for seed in (1, 2, 3)}
    expected = {v: [built.probability(row) for row in ROWS] for v, built in bundles.items()}
    desire(tmp_path, bundles["1"])
    server = start_server(tmp_path)
    server.wait_for("1")
    stop = threading.Event()
    wrong: list[Any] = []
    seen: dict[str, int] = dict.fromkeys(bundles, 0)

    def ask() -> None:
        with httpx.Client(base_url=server.client.base_url, timeout=10) as client:
            for number in cycle(range(len(ROWS))):
                if stop.is_set():
                    return
                try:
                    answer = client.post("/predict", json=ROWS[number])
                    found = answer.json()
                    difference = found["probability"] - expected[found["version"]][number]
                    seen[found["version"]] += 1
                    if answer.status_code != 200 or abs(difference) > 1e-5:
                        wrong.append(found)
                except Exception as error:
                    wrong.append(error)

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ask) for _ in range(4)]
        try:
            for swap in range(20):
                version = str(1 + (swap + 1) % 3)
                desire(tmp_path, bundles[version])
                server.wait_for(version)
        finally:
            stop.set()
    for each in asking:
        each.result()
    assert wrong == []
    assert all(count > 20 for count in seen.values()), seen
    assert (
        'serving_swaps_total{use_case="heart_disease"} 21.0' in server.client.get("/metrics").text
    )


def test_unexpected_error_tells_the_client_a_number_only(steady: Server) -> None:
    server = steady
    answer = server.predict({**PAYLOAD, "age": 99})
    assert answer.status_code == 500
    found = answer.json()
    assert found.keys() == {"detail", "request_id"}
    assert found["detail"] == "internal error"
    assert server.predict(PAYLOAD).status_code == 200
    assert 'route="/predict",status="500"} 1.0' in server.client.get("/metrics").text
    wait_until(lambda: found["request_id"] in server.lines[-1], "the log line")
    (line,) = [line for line in server.log if line.get("request_id") == found["request_id"]]
    assert line["level"] == "ERROR"
    assert "ModelError" in line["exception"]


def test_stopping_finishes_the_request_in_flight(tmp_path: Path, start_server: Start) -> None:
    desire(tmp_path, make_bundle(tmp_path))
    server = start_server(tmp_path)
    server.wait_for("1")
    # A client that goes away in the middle of its request is no error of ours.
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        assert server.predict(PAYLOAD).status_code == 200

    body = json.dumps(PAYLOAD).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head + body[:20])
        # Answers to later requests show that the server has taken up this one.
        for _ in range(3):
            assert server.predict(PAYLOAD).status_code == 200
        server.client.close()
        server.process.terminate()
        wait_until(lambda: "Shutting down" in "".join(server.lines), "the shutdown")
        connection.sendall(body[20:])
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"probability":' in answer
    assert server.stop() == 0
    assert {line["level"] for line in server.log} == {"INFO"}
