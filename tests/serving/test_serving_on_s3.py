"""Following a desired state in a bucket, and serving on whatever becomes of the bucket."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_assets.lib.storage.root import Storage
from serving.bundle.signature import parse_public_keys
from serving.metrics import Metrics
from serving.prediction_log.log import PredictionLog
from serving.roles.follower import Follower
from serving.settings import Settings
from serving.storage import source
from serving.storage.origin import open_origin
from tests.serving.bundles import PAYLOAD, USE_CASE, Built, make_bundle, sign
from tests.serving.bundles import desire as desire_on_disk
from tests.serving.server import Server, wait_until
from tests.serving.test_signature import KEY, public
from tests.trouble import Trouble


def desire(store: Storage, built: Built, path: str | None = None) -> None:
    role = {**built.role, "bundle": path or built.path}
    state = {"schema_version": 1, "use_case": USE_CASE, "environment": "dev"}
    store.write_json(f"{USE_CASE}/desired/dev.json", {**state, "roles": {"champion": role}})


def test_a_bucket_is_followed_and_the_last_good_bundle_serves_without_it(
    trouble: Trouble, s3_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_PATIENCE_SECONDS", 0.3)
    store = Storage(s3_root)
    first, second = (make_bundle(tmp_path, seed) for seed in (1, 2))
    settings = Settings(use_cases=(USE_CASE,), storage_root=s3_root, poll_seconds=0.2)
    follower = follower_of(settings)
    follower.look()
    assert str(follower.state.problem) == (
        f"{s3_root}/{USE_CASE}/desired/dev.json: no desired state: No such object"
    )

    store.publish(first.folder, first.path)
    desire(store, first)
    follower.look()
    assert follower.state.problem is None
    assert follower.state.champion is not None
    serves = follower.state.champion
    # A look at what has not changed is one small request.
    asked = len(trouble.seen)
    follower.look()
    assert len(trouble.seen) == asked + 1

    trouble.busy = 1_000_000
    follower.look()
    assert "answered 503" in str(follower.state.problem)
    assert follower.state.champion is serves
    trouble.busy = 0
    # The store itself may still be busy with what the client had tried again.
    wait_until(lambda: follows(follower), "the store to be followed again")
    assert follower.state.champion is serves

    store.publish(second.folder, second.path)
    with store.writing(f"{second.path}/model.onnx") as partial:
        partial.write_bytes(b"damaged")
    desire(store, second)
    follower.look()
    assert f"{s3_root}/{second.path}/model.onnx: expected sha256" in str(follower.state.problem)
    store.remove(f"{second.path}/golden.parquet")
    desire(store, second, f"{second.path}/.")
    follower.look()
    assert "lies outside the storage root" in str(follower.state.problem)
    desire(store, second)
    follower.look()
    assert f"{s3_root}/{second.path}/golden.parquet: missing" in str(follower.state.problem)
    assert follower.state.champion is serves

    for name in ("model.onnx", "golden.parquet"):
        store.publish(second.folder / name, f"{second.path}/{name}")
    desire(store, second, second.path)
    store.write_json(f"{USE_CASE}/desired/other.json", {})
    follower._retry_at = 0.0
    follower.look()
    assert follower.state.problem is None
    assert follower.state.champion is not None
    assert follower.state.champion.role.version == second.version


def test_the_signature_is_fetched_with_the_bundle(s3_root: str, tmp_path: Path) -> None:
    store, built = Storage(s3_root), make_bundle(tmp_path)
    store.publish(built.folder, built.path)
    desire(store, built)
    settings = Settings(
        use_cases=(USE_CASE,),
        storage_root=s3_root,
        poll_seconds=0.2,
        trusted_keys=parse_public_keys(public(KEY)),
    )
    follower = follower_of(settings)
    follower.look()
    missing = f"{s3_root}/{built.path}/manifest.sig: missing; only signed bundles are served here"
    assert str(follower.state.problem) == missing
    sign(built.folder, built.digest, KEY)
    store.publish(built.folder / "manifest.sig", f"{built.path}/manifest.sig")
    follower._retry_at = 0.0
    follower.look()
    assert follower.state.problem is None
    assert follower.state.champion is not None


def follower_of(settings: Settings) -> Follower:
    origin = open_origin(USE_CASE, settings)
    return Follower(USE_CASE, settings, origin, Metrics(), PredictionLog(settings))


def follows(follower: Follower) -> bool:
    follower.look()
    return follower.state.problem is None


def fresh(s3_root: str) -> Follower:
    """A follower as a new process has it."""
    settings = Settings(use_cases=(USE_CASE,), storage_root=s3_root, poll_seconds=0.2)
    return follower_of(settings)


def version(follower: Follower) -> str | None:
    return follower.state.champion.role.version if follower.state.champion else None


def test_a_store_that_is_down_at_start_is_answered_for_by_what_was_last_known(
    trouble: Trouble, s3_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_PATIENCE_SECONDS", 0.3)
    store = Storage(s3_root)
    first, second = (make_bundle(tmp_path, seed) for seed in (1, 2))

    trouble.busy = 1_000_000
    nobody = fresh(s3_root)
    nobody.look()
    assert (version(nobody), nobody.state.looked) == (None, True)
    assert "answered 503" in str(nobody.state.problem)
    assert "last known" not in str(nobody.state.problem)
    trouble.busy = 0

    store.publish(first.folder, first.path)
    desire(store, first)
    before = fresh(s3_root)
    before.look()
    assert version(before) == "1"
    # A version that cannot be followed is not what was last known to be good.
    desire(store, second)
    before.look()
    assert version(before) == "1"
    assert "contract.json: missing" in str(before.state.problem)

    trouble.busy = 1_000_000
    asked = len(trouble.seen)
    follower = fresh(s3_root)
    follower.look()
    serves = follower.state.champion
    assert version(follower) == "1"
    problem = str(follower.state.problem)
    assert problem.startswith(f"{s3_root}/{USE_CASE}/desired/dev.json: the store at http://")
    assert "answered 503" in problem
    assert "; serving what was last known, from 20" in problem
    assert not any("bundles" in seen for seen in trouble.seen[asked:])
    follower.look()
    assert follower.state.champion is serves

    # Nor is a store there that takes requests and never answers.
    trouble.busy = 0
    monkeypatch.setattr(source, "_LOOK_SECONDS", 0.2)
    with monkeypatch.context() as patch:
        patch.setattr(trouble, "answer", lambda *_: time.sleep(60))
        waiting = fresh(s3_root)
        waiting.look()
    assert version(waiting) == "1"
    assert "; serving what was last known, from 20" in str(waiting.state.problem)

    monkeypatch.setattr(source, "_LOOK_SECONDS", 5.0)
    store.publish(second.folder, second.path)
    follower.look()
    assert (version(follower), follower.state.problem) == ("2", None)
    # From now on it is not the past that serves, but what is loaded.
    trouble.busy = 1_000_000
    follower.look()
    assert version(follower) == "2"
    assert "last known" not in str(follower.state.problem)

    # As far as anybody here could know: both are withdrawn.
    trouble.busy = 0
    store.write_json(
        f"{USE_CASE}/desired/dev.json",
        {"schema_version": 1, "use_case": USE_CASE, "environment": "dev", "roles": {}},
    )
    follower.look()
    trouble.busy = 1_000_000
    after = fresh(s3_root)
    after.look()
    assert version(after) is None
    assert "last known" in str(after.state.problem)
    assert "withdrawn: names no champion" in str(after.state.problem)

    # A store that answers, and has no desired state, is not down.
    trouble.busy = 0
    desire(store, first)
    follower.look()
    store.remove(f"{USE_CASE}/desired/dev.json")
    after = fresh(s3_root)
    after.look()
    assert version(after) is None
    assert "no desired state: No such object" in str(after.state.problem)


def test_servers_fetch_once_and_start_without_the_store(
    trouble: Trouble, s3_root: str, tmp_path: Path, start_server: Callable[..., Server]
) -> None:
    store = Storage(s3_root)
    built = make_bundle(tmp_path, 1)
    store.publish(built.folder, built.path)
    desire(store, built)
    trouble.seen.clear()
    environ = {"SERVING_CACHE": str(tmp_path / "cache"), "SERVING_WORKERS": "2"}
    server = start_server(s3_root, environ=environ)

    def both_serve() -> bool:
        return [line["message"] for line in server.log].count("serving") == 2

    wait_until(both_serve, "two workers that serve")
    fetched = [seen for seen in trouble.seen if seen.startswith("GET") and "model.onnx" in seen]
    assert len(fetched) == 1
    assert server.stop() == 0

    trouble.busy = 1_000_000
    server = start_server(s3_root, environ={"SERVING_CACHE": str(tmp_path / "cache")})
    server.wait_for("1")
    assert server.client.get("/health/ready").status_code == 200
    assert "serving what was last known" in server.model()["problem"]
    probability = server.predict(PAYLOAD).json()["probability"]
    assert probability == pytest.approx(built.probability(PAYLOAD), abs=1e-5)
    trouble.busy = 0
    wait_until(lambda: server.model()["problem"] is None, "the store to be followed again")
    assert server.model()["source"] == f"{s3_root}/{USE_CASE}/desired/dev.json"


def test_a_mount_is_cached_if_asked_and_known_to_be_gone(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    built = make_bundle(mount, 1)
    desire_on_disk(mount, built)
    settings = Settings(
        use_cases=(USE_CASE,), storage_root=str(mount), poll_seconds=0.2, cache=tmp_path / "cache"
    )
    follower = follower_of(settings)
    follower.look()
    assert (version(follower), follower.state.problem) == ("1", None)
    mount.rename(tmp_path / "elsewhere")
    mount.mkdir()
    follower = follower_of(settings)
    follower.look()
    assert version(follower) == "1"
    problem = str(follower.state.problem)
    assert f"nor anything else in {mount}: is it mounted?; serving what was last" in problem
    mount.rmdir()
    (tmp_path / "elsewhere").rename(mount)
    follower.look()
    assert (version(follower), follower.state.problem) == ("1", None)
