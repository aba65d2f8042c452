from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.app import App
from serving.settings import Settings
from tests.serving.bundles import desire, make_bundle
from tests.serving.fuzz import fuzz
from tests.serving.server import Server


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("storage")
    desire(root, make_bundle(root))
    server = Server(root)
    server.wait_for("1")
    yield str(server.client.base_url)
    assert server.stop() == 0
    # What is not even HTTP is told as a warning.
    assert {line["level"] for line in server.log} <= {"INFO", "WARNING"}


def posts(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in schema["paths"].items():
        if "post" in operations:
            yield path, operations["post"]


def test_every_example_is_answered_as_it_says(url: str) -> None:
    schema = httpx.get(f"{url}/openapi.json").json()
    names = {"use_case": "heart_disease", "name": "heart_disease", "version": "1"}
    asked = 0
    for path, operation in posts(schema):
        requests = operation["requestBody"]["content"]["application/json"]["examples"]
        status = "202" if "202" in operation["responses"] else "200"
        answers = operation["responses"][status]["content"]["application/json"]["examples"]
        assert list(requests) == list(answers)
        for name, example in requests.items():
            answer = httpx.post(url + path.format(**names), json=example["value"])
            assert answer.status_code == int(status), answer.text
            same_form(answer.json(), answers[name]["value"])
            asked += 1
    assert asked == 14


def same_form(found: Any, shown: Any) -> None:
    """What is answered has the keys, and where they cannot differ the values, of the example."""
    if isinstance(shown, list):
        assert len(found) == len(shown)
        for one, other in zip(found, shown, strict=True):
            same_form(one, other)
        return
    assert found.keys() == shown.keys()
    for name in ("version", "digest", "label", "ids", "probability", "model_version"):
        if name in shown:
            assert found[name] == shown[name], name


def test_everything_is_described(url: str) -> None:
    schema = httpx.get(f"{url}/openapi.json").json()
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert operation["description"], (method, path)
            assert len(operation["tags"]) == 1, (method, path)
            for status, answer in operation["responses"].items():
                assert answer["description"], (method, path, status)
                assert answer["content"], (method, path, status)
            assert "500" in operation["responses"]


def test_of_several_use_cases_each_has_to_be_named(tmp_path: Path) -> None:
    settings = Settings(
        use_cases=("heart_disease", "churn"),
        storage_root=str(tmp_path),
        log_spool=str(tmp_path / "spool"),
    )
    paths = App(settings).documented.openapi()["paths"]
    assert {"/predict/{use_case}", "/model/{use_case}"} <= paths.keys()
    assert paths.keys().isdisjoint({"/predict", "/explain", "/feedback", "/model"})


def test_nothing_made_up_gets_an_answer_that_is_not_documented(url: str) -> None:
    done = fuzz(url, "examples,fuzzing", 10)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "21 selected / 21 total" in done.stdout
