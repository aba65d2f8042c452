"""Following a desired state in a bucket, and serving on whatever becomes of the bucket."""

from pathlib import Path

import pytest

from mlops_assets.lib.storage.root import Storage
from serving.follower import Follower
from serving.metrics import Metrics
from serving.settings import Settings
from serving.storage import source
from serving.storage.origin import open_origin
from tests.serving.bundles import USE_CASE, Built, make_bundle
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
    follower = Follower(USE_CASE, settings, open_origin(USE_CASE, settings), Metrics())
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
    follower.look()
    assert follower.state.problem is None
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
