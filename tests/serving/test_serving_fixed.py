"""Serving what is fixed at start: a folder, or a version in MLflow."""

import base64
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.metrics import Metrics
from serving.prediction_log.log import PredictionLog
from serving.roles.desired import Role
from serving.roles.follower import Follower
from serving.settings import Settings, SettingsError, load_settings
from serving.storage import source
from serving.storage.origin import Pin, open_origin
from tests.faulty import Answer, HttpServer, forward_to, http_server
from tests.s3 import free_ports
from tests.serving.bundles import PAYLOAD, USE_CASE, Built, make_bundle
from tests.serving.server import Server, clean_environment, wait_until

NAME = "heart disease"


def following(origin: Any, settings: Settings) -> Follower:
    return Follower(USE_CASE, settings, origin, Metrics(), PredictionLog(settings))


def version(follower: Follower) -> str | None:
    return follower.state.champion.role.version if follower.state.champion else None


def again(follower: Follower) -> None:
    """Look as if the time until the next attempt had passed."""
    follower._retry_at = 0.0
    remote: Any = getattr(follower._origin, "_remote", None)
    if remote is not None:
        remote._retry_at = 0.0
    follower.look()


def test_a_folder_serves_as_it_was_at_start(
    tmp_path: Path, start_server: Callable[..., Server]
) -> None:
    built, other = (make_bundle(tmp_path, seed) for seed in (1, 2))
    folder = tmp_path / "bundle"
    server = start_server(tmp_path / "nothing", environ={"SERVING_BUNDLE": str(folder)})
    assert server.wait_for_problem(f"{folder}/manifest.json: missing")["ready"] is False
    built.folder.rename(folder)
    server.wait_for(built.digest[:12])
    model = server.model()
    assert (model["source"], model["digest"], model["problem"]) == (
        str(folder), built.digest, None,
    )  # fmt: skip
    found = server.predict(PAYLOAD).json()
    assert found["probability"] == pytest.approx(built.probability(PAYLOAD), abs=1e-5)
    assert server.log[0]["follows"] == [str(folder)]
    # Another worker, started anew, still wants what the first one found.
    shutil.rmtree(folder)
    other.folder.rename(folder)
    (worker,) = (
        int(path.name)
        for path in Path("/proc").glob("[0-9]*")
        if _parent(path) == server.process.pid
    )
    os.kill(worker, signal.SIGKILL)
    expected = f"expected content digest {built.digest}, found {other.digest}"

    def refused() -> bool:
        # The worker's connections end with it.
        with contextlib.suppress(httpx.TransportError):
            return expected in (server.model()["problem"] or "")
        return False

    wait_until(refused, "a worker that wants what the first one found")


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def test_a_digest_that_is_asked_for_is_what_serves(tmp_path: Path) -> None:
    built, other = (make_bundle(tmp_path, seed) for seed in (1, 2))
    for digest, expected in ((built.digest, built.digest[:12]), (other.digest, None)):
        settings = Settings(
            use_cases=(USE_CASE,), storage_root="x", bundle=built.folder, bundle_digest=digest
        )
        follower = following(open_origin(USE_CASE, settings), settings)
        follower.look()
        assert version(follower) == expected
    assert f"expected content digest {other.digest}" in str(follower.state.problem)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SERVING_FROM_MLFLOW": "heart@champion"}, "SERVING_FROM_MLFLOW = 'heart@champion': St"),
        ({"SERVING_FROM_MLFLOW": "models:/heart/latest"}, "should match pattern"),
        ({"SERVING_FROM_MLFLOW": "models:/a/1"}, "^--from-mlflow needs MLFLOW_TRACKING_URI, http"),
        (
            {"SERVING_FROM_MLFLOW": "models:/a/1", "MLFLOW_TRACKING_URI": "sqlite:///x.db"},
            "^--from-mlflow needs MLFLOW_TRACKING_URI, http://… or https://…$",
        ),
        (
            {"SERVING_FROM_MLFLOW": "models:/a/1", "MLFLOW_TRACKING_URI": "http://me:secret@x"},
            "^MLFLOW_TRACKING_URI holds a password: give MLFLOW_TRACKING_USERNAME and",
        ),
        ({"SERVING_BUNDLE": "x", "SERVING_FROM_MLFLOW": "models:/a/1"}, "give one of them"),
        ({"SERVING_BUNDLE": "x", "SERVING_USE_CASE": "a,b"}, "serve one use case"),
        ({"SERVING_BUNDLE": "x", "SERVING_BUNDLE_DIGEST": "abc"}, "SERVING_BUNDLE_DIGEST = 'abc'"),
        ({"SERVING_BUNDLE_DIGEST": "a" * 64}, "says what --bundle or --from-mlflow must have"),
        ({"SERVING_BUNDLE": "x", "SERVING_HOST": "0.0.0.0"}, "0.0.0.0 can be reached by others"),
    ],
)
def test_what_cannot_be_meant_is_refused(variables: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        load_settings([], {"SERVING_USE_CASE": "churn", **variables})
    assert "secret" not in str(error.value)


def test_an_address_of_mlflow_disturbs_nobody_who_does_not_use_it() -> None:
    settings = load_settings(["--use-case", "churn"], {"MLFLOW_TRACKING_URI": "sqlite:///x.db"})
    assert settings.from_mlflow is None


@dataclass
class Registry:
    """A real MLflow server behind a proxy that counts and spoils, with two bundles.

    Attributes:
        proxy: What a server is told to ask.
        proxied: Version 1, whose artifacts the server passes on; `champion` at first.
        local: Version 2, whose artifacts lie in a folder that the server reaches.
    """

    proxy: HttpServer
    proxied: Built
    local: Built
    client: Any

    def settings(self, cache: Path, reference: str = f"models:/{NAME}@champion") -> Settings:
        return Settings(
            use_cases=(USE_CASE,),
            storage_root="nowhere",
            cache=cache,
            from_mlflow=reference,
            mlflow_tracking_uri=self.proxy.url,
            poll_seconds=0.2,
        )

    def follower(self, settings: Settings, notes: Path | None = None) -> Follower:
        return following(open_origin(USE_CASE, settings, notes), settings)


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "proxied"), "--host", "127.0.0.1"]
    environment = clean_environment(
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", MLFLOW_DISABLE_TELEMETRY="true"
    )
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=folder
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def shared_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("mlflow")
    first, second = (make_bundle(folder, seed) for seed in (1, 2))
    places = ((first, None), (second, (folder / "local").as_uri()))
    with mlflow_server(folder) as url, http_server(forward_to(url)) as proxy:

        def answers() -> bool:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
            except OSError:
                return False
            return True

        for _ in range(4):
            try:
                wait_until(answers, "MLflow")
                break
            except AssertionError:
                continue
        client = MlflowClient(url)
        client.create_registered_model(NAME)
        for each, place in places:
            experiment = client.create_experiment(each.version, artifact_location=place)
            run = client.create_run(experiment)
            client.log_artifacts(run.info.run_id, str(each.folder), "bundle")
            files = f"{run.info.artifact_uri}/bundle"
            tags = {"bundle": each.digest}
            client.create_model_version(NAME, files, run.info.run_id, tags=tags)
        yield Registry(proxy, first, second, client)


@pytest.fixture
def registry(shared_registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    for name in ("TOKEN", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    shared_registry.client.set_registered_model_alias(NAME, "champion", "1")
    shared_registry.proxy.asked.clear()
    usual = shared_registry.proxy.usual
    yield shared_registry
    shared_registry.proxy.usual = usual
    shared_registry.proxy.faults.clear()


def test_an_alias_is_found_once_and_kept(registry: Registry, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    settings = registry.settings(tmp_path / "cache")
    follower = registry.follower(settings, notes)
    follower.look()
    assert (version(follower), follower.state.problem) == ("1", None)
    assert follower.where == f"models:/{NAME}@champion at {registry.proxy.url}"
    asked = [each["path"] for each in registry.proxy.asked]
    assert len(asked) == 2 + 7
    assert sum("/api/2.0/mlflow-artifacts/artifacts/" in path for path in asked) == 7
    assert follower.state.champion is not None
    assert follower.state.champion.bundle.digest == registry.proxied.digest

    registry.client.set_registered_model_alias(NAME, "champion", "2")
    follower.look()
    worker = registry.follower(settings, notes)
    worker.look()
    assert (version(follower), version(worker)) == ("1", "1")
    assert len(registry.proxy.asked) == len(asked)
    # A new start asks anew. These artifacts lie in a folder of the server.
    later = registry.follower(settings)
    later.look()
    assert (version(later), later.state.problem) == ("2", None)
    assert sum("/model-versions/get-artifact" in each["path"] for each in registry.proxy.asked) == 7


def test_a_registry_that_is_down_at_start(
    registry: Registry, tmp_path: Path, start_server: Callable[..., Server]
) -> None:
    def down(path: str, headers: Any) -> Answer:
        return Answer(503, b"busy")

    usual, registry.proxy.usual = registry.proxy.usual, down
    environ = {
        "SERVING_FROM_MLFLOW": f"models:/{NAME}/2",
        "MLFLOW_TRACKING_URI": registry.proxy.url,
        "SERVING_CACHE": str(tmp_path / "cache"),
    }
    server = start_server(tmp_path, environ=environ)
    server.wait_for_problem(f"models:/{NAME}/2 at {registry.proxy.url}: answered 503")
    assert server.client.get("/health/live").status_code == 200
    assert server.client.get("/health/startup").status_code == 200
    assert server.client.get("/health/ready").status_code == 503
    # With longer and longer pauses, not at every look.
    assert len(registry.proxy.asked) <= 4
    registry.proxy.usual = usual
    server.wait_for("2")
    probability = server.predict(PAYLOAD).json()["probability"]
    assert probability == pytest.approx(registry.local.probability(PAYLOAD), abs=1e-5)

    # The same reference, and no other, is known now.
    registry.proxy.usual = down
    settings = registry.settings(tmp_path / "cache", f"models:/{NAME}/2")
    follower = registry.follower(settings)
    follower.look()
    assert version(follower) == "2"
    assert "answered 503; serving what was last known, from " in str(follower.state.problem)
    other = registry.follower(registry.settings(tmp_path / "cache"))
    other.look()
    assert (version(other), other.state.problem) == (
        None, f"models:/{NAME}@champion at {registry.proxy.url}: answered 503",
    )  # fmt: skip
    registry.proxy.usual = usual
    again(follower)
    assert (version(follower), follower.state.problem) == ("2", None)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (Answer(401), r"refuses access \(401\): check MLFLOW_TRACKING_USERNAME and"),
        (Answer(200, b"<html>"), "not an answer of MLflow: no JSON"),
        (Answer(200, b"[" * 100_000), "not an answer of MLflow: no JSON"),
        (Answer(200, b"[]"), "not an answer of MLflow: no "),
        (Answer(200, b"{}"), "not an answer of MLflow: no 'model_version'"),
        (Answer(200, b'{"model_version": {"version": 7}}'), "not there: RESOURCE_DOES_NOT_EXIST: "),
        (Answer(302, b"", {"Location": "http://127.0.0.1:1/"}), "cannot be reached: "),
        (Answer(200, b"{}", {"Content-Length": "100"}), "not an answer|cannot be reached"),
    ],
)
def test_an_answer_that_makes_no_sense_is_a_problem(
    registry: Registry, tmp_path: Path, fault: Answer, problem: str
) -> None:
    registry.proxy.faults.append(fault)
    follower = registry.follower(registry.settings(tmp_path))
    follower.look()
    assert version(follower) is None
    assert re.search(problem, str(follower.state.problem))
    again(follower)
    assert (version(follower), follower.state.problem) == ("1", None)


def test_what_is_not_there_or_not_what_is_wanted_does_not_serve(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.follower(registry.settings(tmp_path)).look()
    for reference in (f"models:/{NAME}@nobody", f"models:/{NAME}/9", "models:/none@champion"):
        follower = registry.follower(registry.settings(tmp_path, reference))
        follower.look()
        assert version(follower) is None
        assert f"{reference} at {registry.proxy.url}: not there: " in str(follower.state.problem)
    # Known here, and taken back there: a registry that answers is believed.
    registry.client.delete_registered_model_alias(NAME, "champion")
    follower = registry.follower(registry.settings(tmp_path))
    follower.look()
    assert version(follower) is None
    assert "not there" in str(follower.state.problem)

    registry.client.set_registered_model_alias(NAME, "champion", "1")
    settings = registry.settings(tmp_path).model_copy(update={"bundle_digest": "0" * 64})
    follower = registry.follower(settings)
    follower.look()
    assert f"version 1: expected digest {'0' * 64}, found" in str(follower.state.problem)
    monkeypatch.setattr(source, "LARGEST_BUNDLE_BYTES", 2000)
    follower = registry.follower(registry.settings(tmp_path / "empty"))
    follower.look()
    assert "artifacts/bundle: larger than 2000 bytes" in str(follower.state.problem)


def test_credentials_go_to_the_registry_and_nowhere_else(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    registry.follower(registry.settings(tmp_path)).look()
    basic = f"Basic {base64.b64encode(b'me:secret').decode()}"
    assert {each["authorization"] for each in registry.proxy.asked} == {basic}
    with http_server(lambda path, headers: Answer(500)) as elsewhere:
        registry.proxy.faults.append(Answer(302, b"", {"Location": f"{elsewhere.url}/x"}))
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "token")
        follower = registry.follower(registry.settings(tmp_path / "other"))
        follower.look()
        assert "answered 500" in str(follower.state.problem)
        assert "token" not in str(follower.state.problem)
        assert registry.proxy.asked[-1]["authorization"] == "Bearer token"
        assert "authorization" not in elsewhere.asked[0]


def test_what_two_workers_find_is_what_the_first_one_found(tmp_path: Path, built: Built) -> None:
    first, second = (Role(version=v, bundle="b", digest=built.digest) for v in "12")
    path = tmp_path / "pin.json"

    def slow() -> Role:
        # The other one is quicker.
        assert Pin(path).once(lambda: second) == second
        return first

    assert Pin(path).once(slow) == second
    assert Pin(path).once(lambda: first) == second
    assert Pin(None).once(lambda: first) == first
    assert [each.name for each in tmp_path.iterdir()] == ["pin.json"]
