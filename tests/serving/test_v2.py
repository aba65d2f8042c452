import json
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.serving.bundles import PAYLOAD, ROWS, USE_CASE, Built, desire, make_bundle
from tests.serving.server import Server

MODEL = f"/v2/models/{USE_CASE}"
DATATYPES = {
    "age": "INT64", "cp": "INT64", "chol": "INT64", "oldpeak": "FP64", "smoker": "BOOL",
    "region": "BYTES", "note": "BYTES", "seen": "BYTES",
}  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Built, Built]]:
    """A server with its champion and a challenger that nobody gets by chance."""
    root = tmp_path_factory.mktemp("served")
    champion, challenger = make_bundle(root, 1), make_bundle(root, 2)
    roles = {"champion": champion.role, "challenger": {**challenger.role, "percent": 0}}
    desire(root, champion, roles=roles)
    server = Server(root)
    server.wait_for("1")
    server.wait_for_challenger()
    yield server, champion, challenger
    server.stop()


@pytest.fixture(scope="module")
def client(served: tuple[Server, Built, Built]) -> httpx.Client:
    return served[0].client


def tensors(rows: list[dict[str, Any]], **changes: Any) -> list[dict[str, Any]]:
    """Rows as tensors; a value that a row does not have is null."""
    return [
        {
            "name": name,
            "datatype": datatype,
            "shape": [len(rows)],
            "data": [row.get(name) for row in rows],
            **changes.get(name, {}),
        }
        for name, datatype in DATATYPES.items()
    ]


def outputs(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return {each["name"]: each["data"] for each in answer.json()["outputs"]}


def test_server_and_model_are_described(client: httpx.Client) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    found = client.get(MODEL).json()
    assert (found["name"], found["versions"]) == (USE_CASE, ["1", "2"])
    assert {each["name"]: each["datatype"] for each in found["inputs"]} == DATATYPES
    assert {each["name"]: each["datatype"] for each in found["outputs"]} == {
        "probability": "FP64", "class": "INT64", "label": "BYTES", "prediction_id": "BYTES",
    }  # fmt: skip
    assert all(each["shape"] == [-1] for each in found["inputs"] + found["outputs"])
    assert client.get(f"{MODEL}/versions/2").json()["versions"] == ["2"]
    for path in (MODEL, f"{MODEL}/versions/1", f"{MODEL}/versions/2"):
        assert client.get(f"{path}/ready").json() == {"name": USE_CASE, "ready": True}


def test_rows_are_answered_as_predict_answers_them(client: httpx.Client, built: Built) -> None:
    answer = client.post(f"{MODEL}/infer", json={"id": "7", "inputs": tensors(ROWS)})
    found = outputs(answer)
    expected = client.post("/predict", json=ROWS).json()
    assert found["probability"] == [each["probability"] for each in expected]
    assert found["class"] == [each["class"] for each in expected]
    assert found["label"] == [each["label"] for each in expected]
    assert len(set(found["prediction_id"])) == len(ROWS)
    told = answer.json()
    assert (told["id"], told["model_name"], told["model_version"]) == ("7", USE_CASE, "1")
    assert told["parameters"] == {"role": "champion", "digest": built.digest, "threshold": 0.5}
    assert all(each["shape"] == [len(ROWS)] for each in told["outputs"])


def test_version_is_asked_by_its_name(served: tuple[Server, Built, Built]) -> None:
    server, *both = served
    for built in both:
        path = f"{MODEL}/versions/{built.version}/infer"
        answer = server.client.post(path, json={"inputs": tensors(ROWS)})
        assert answer.json()["model_version"] == built.version
        assert "id" not in answer.json()
        expected = [built.probability(row) for row in ROWS]
        assert outputs(answer)["probability"] == pytest.approx(expected, abs=1e-5)


def test_outputs_are_chosen_and_nullable_columns_left_out(client: httpx.Client) -> None:
    inputs = [t for t in tensors([PAYLOAD]) if t["name"] in ("age", "cp", "oldpeak")]
    asked = {"inputs": inputs, "outputs": [{"name": "label"}, {"name": "probability"}]}
    found = outputs(client.post(f"{MODEL}/infer", json=asked))
    assert list(found) == ["label", "probability"]
    expected = client.post("/predict", json={"age": 63, "cp": 3, "oldpeak": 2.3}).json()
    assert found["probability"] == [expected["probability"]]


def test_shape_of_a_column_may_be_written_in_two_ways(client: httpx.Client) -> None:
    expected = outputs(client.post(f"{MODEL}/infer", json={"inputs": tensors(ROWS)}))
    nested = tensors(ROWS, age={"shape": [5, 1], "data": [[row["age"]] for row in ROWS]})
    flat = tensors(ROWS, age={"shape": [5, 1]}, cp={"datatype": "FP32"})
    for inputs in (nested, flat):
        found = outputs(client.post(f"{MODEL}/infer", json={"inputs": inputs}))
        assert found["probability"] == expected["probability"]


def binary_request(rows: list[dict[str, Any]]) -> tuple[bytes, dict[str, str]]:
    """Rows as binary tensors, and a float tensor with NaN for a missing number."""
    inputs, contents = [], []
    for tensor in tensors(rows):
        data, datatype = tensor.pop("data"), tensor["datatype"]
        if datatype == "BYTES":
            texts = [value.encode() for value in data]
            content = b"".join(struct.pack("<I", len(text)) + text for text in texts)
        elif datatype == "BOOL":
            content = bytes(data)
        else:
            tensor["datatype"] = "FP64"
            content = np.array(data, "<f8").tobytes()
        tensor["parameters"] = {"binary_data_size": len(content)}
        inputs.append(tensor)
        contents.append(content)
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    return head + b"".join(contents), {"Inference-Header-Content-Length": str(len(head))}


def test_binary_tensors_say_the_same(client: httpx.Client) -> None:
    rows = [PAYLOAD, {**PAYLOAD, "chol": None, "note": "naïve ☃"}]
    content, headers = binary_request(rows)
    answer = client.post(f"{MODEL}/infer", content=content, headers=headers)
    assert answer.headers["content-type"] == "application/octet-stream"
    size = int(answer.headers["inference-header-content-length"])
    told, rest = json.loads(answer.content[:size]), answer.content[size:]
    expected = client.post("/predict", json=rows).json()
    parts = {}
    for output in told["outputs"]:
        length = output["parameters"]["binary_data_size"]
        parts[output["name"]], rest = rest[:length], rest[length:]
    assert rest == b""
    assert np.frombuffer(parts["probability"], "<f8").tolist() == [
        each["probability"] for each in expected
    ]
    assert np.frombuffer(parts["class"], "<i8").tolist() == [each["class"] for each in expected]
    label = expected[0]["label"].encode()
    assert parts["label"].startswith(struct.pack("<I", len(label)) + label)


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        ([], "the inputs must be of one length; got none"),
        (tensors([]), "the inputs must hold 1 to 1000 rows; got 0"),
        (tensors([PAYLOAD] * 1001), "the inputs must hold 1 to 1000 rows; got 1001"),
        (tensors([PAYLOAD], age={"name": "x"}), 'input "x": is not a column of this contract'),
        (tensors([PAYLOAD], cp={"name": "age"}), 'input "age": is there twice'),
        (tensors([PAYLOAD], age={"datatype": "BOOL"}), 'input "age": must be INT64; got "BOOL"'),
        (tensors([PAYLOAD], age={"shape": [2]}), 'input "age": has 1 values; its shape says 2'),
        (tensors([PAYLOAD], age={"shape": [1, 2]}), "must have the shape [n] or [n, 1]"),
        (tensors([PAYLOAD], age={"shape": [2], "data": [1, 2]}), "of one length; got [1, 2]"),
        (tensors([PAYLOAD], age={"data": None}), 'input "age": has no data'),
        (tensors([PAYLOAD], age={"data": [17]}), "age: must be at least 18 years; got 17"),
        (tensors([PAYLOAD], age={"data": [None]}), "age: must have a value; got null"),
        (tensors([PAYLOAD] * 2, cp={"data": [3, 9]}), "row 1: cp: must be one of 0, 1, 2, 3"),
        (tensors([PAYLOAD], age={"data": [{}]}), "age: must be a whole number; got an object"),
        (tensors([PAYLOAD], oldpeak={"data": [1e39]}), "out of range for"),
        ("x", "not a request of the V2 protocol: Expected `array`, got `str` - at `$.inputs`"),
        (
            tensors([PAYLOAD], age={"parameters": {"binary_data_size": 8}, "data": None}),
            "binary_data_size is 8, and 0 bytes are left in the body",
        ),
    ],
)
def test_requests_that_are_none_are_refused(client: httpx.Client, inputs: Any, error: str) -> None:
    answer = client.post(f"{MODEL}/infer", json={"inputs": inputs})
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert error in answer.json()["error"]


def test_what_else_is_wrong_has_its_status(client: httpx.Client) -> None:
    asked = {"inputs": tensors([PAYLOAD]), "outputs": [{"name": "odds"}]}
    answer = client.post(f"{MODEL}/infer", json=asked)
    assert answer.status_code == 400
    assert "must be one of probability, class, label, prediction_id" in answer.json()["error"]
    other = "heart_disease: this version does not answer; ask version 1 or 2"
    for path in ("", "/ready"):
        answer = client.get(f"{MODEL}/versions/3{path}")
        assert (answer.status_code, answer.json()) == (404, {"error": other})
    for path in ("/v2/models/churn", "/v2/models/churn/ready", "/v2/models", "/v2/nothing/here"):
        answer = client.get(path)
        assert (answer.status_code, list(answer.json())) == (404, ["error"])
    content, headers = binary_request([PAYLOAD])
    path = f"{MODEL}/infer"
    for number in ("x", "-1", "²", "9999999", "1"):
        sent = {b"Inference-Header-Content-Length": number.encode("latin-1")}
        assert client.post(path, content=content, headers=sent).status_code == 400
    for wrong in (content[:-1], content + b"x"):
        assert client.post(path, content=wrong, headers=headers).status_code == 400
    answer = client.post(path, content=content, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()) == (
        415,
        {"error": "the body must not be compressed"},
    )
