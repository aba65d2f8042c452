"""A registered version is made again from its lineage, and what stands in the way is named."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.records import current
from mlops_assets.operations.rebuild import RebuildError, rebuild
from mlops_assets.operations.versions import UnknownVersionError, bundle_of
from serving.bundle.manifest import content_digest
from tests.platform import HEART, Platform, platform
from tests.test_cli import mlops


@pytest.fixture
def made(trained: Platform, tmp_path: Path) -> Iterator[Platform]:
    shutil.copytree(trained.home / "storage", tmp_path / "storage")
    with platform(tmp_path) as copy:
        yield copy


def files(home: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in (home / "storage").rglob("*") if p.is_file()}


def newest(made: Platform) -> str:
    record = current.read(made.store, HEART, "registered_version")
    assert record is not None
    return str(record["digest"])


def changed(made: Platform, **lineage: Any) -> str:
    """A copy of the newest bundle with another lineage; its digest."""
    folder = made.store.local(f"{HEART}/bundles/{newest(made)}")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["lineage"] |= lineage
    manifest["lineage"] = {k: v for k, v in manifest["lineage"].items() if v is not None}
    digest = content_digest(manifest)
    shutil.copytree(folder, folder.with_name(digest))
    (folder.with_name(digest) / "manifest.json").write_text(json.dumps(manifest))
    return digest


def test_a_version_made_again_is_the_same_bit_by_bit(made: Platform) -> None:
    before = files(made.home)
    # The spec on disk trains otherwise: what counts is the recipe of the version.
    done = mlops(made.home, "rebuild", HEART, "1")
    assert done.returncode == 0, done.stderr
    assert "303 rows, the same as then" in done.stdout
    assert "the same bundle, bit by bit; no prediction of 303 rows differs" in done.stdout
    assert files(made.home) == before


def test_what_differs_is_measured_and_named(made: Platform, tmp_path: Path) -> None:
    digest = newest(made)
    manifest = made.store.read_json(f"{HEART}/bundles/{digest}/manifest.json") or {}
    recipe = made.store.read_json(f"{HEART}/recipes/{manifest['lineage']['recipe']}.json") or {}
    recipe["training"]["seed"] += 1
    made.store.write_json(f"{HEART}/recipes/{digest_of(recipe)}.json", recipe)
    found = rebuild(
        made.store, HEART, changed(made, recipe=digest_of(recipe)), tmp_path / "again", print
    )
    assert not found.equal
    assert 1e-6 < found.difference < 1
    assert any(reason.startswith("other bytes in ") for reason in found.reasons)
    assert "model.onnx" in found.reasons[0]


def test_what_is_missing_is_named(made: Platform, tmp_path: Path) -> None:
    with pytest.raises(RebuildError, match="registered before versions kept their recipe"):
        rebuild(made.store, HEART, changed(made, recipe=None), tmp_path / "a", print)
    with pytest.raises(RebuildError, match="its recipe aaaaaaaaaaaa is gone"):
        rebuild(made.store, HEART, changed(made, recipe="a" * 64), tmp_path / "b", print)
    with pytest.raises(RebuildError, match="not bbbbbbbbbbbb"):
        rebuild(made.store, HEART, changed(made, training_set="b" * 64), tmp_path / "c", print)
    for path in made.store.local(f"{HEART}/features").iterdir():
        path.unlink()
    with pytest.raises(RebuildError, match="is gone: features of batch heart-cleveland-"):
        rebuild(made.store, HEART, newest(made), tmp_path / "d", print)


def test_a_version_is_named_by_number_or_digest(made: Platform) -> None:
    digest = newest(made)
    assert bundle_of(made.store, HEART, "1") == digest
    assert bundle_of(made.store, HEART, digest[:8]) == digest
    with pytest.raises(UnknownVersionError, match=f"there are: 1 \\({digest[:12]}\\)"):
        bundle_of(made.store, HEART, "7")
    twin = made.store.local(f"{HEART}/bundles/{digest[:8]}{'0' * 56}")
    twin.mkdir()
    with pytest.raises(UnknownVersionError, match="give more of it"):
        bundle_of(made.store, HEART, digest[:8])
