"""What a machine keeps: fetched once, verified each time, bounded, and never half there."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving.bundle.loaded import Bundle
from serving.bundle.manifest import BundleError
from serving.roles.desired import DesiredState, Role
from serving.storage import cache as module
from serving.storage.bucket import StoreError
from serving.storage.cache import Cache, Known, default_folder
from tests.disk import fill, small_disk
from tests.serving.bundles import USE_CASE, Built, make_bundle
from tests.serving.server import ROOT, wait_until

NOW = datetime.now(UTC)


def kept(folder: Path) -> set[str]:
    return {path.name for path in (folder / "v1" / "bundles").iterdir()}


def copier(built: Built, calls: list[str] | None = None) -> Callable[[Path], None]:
    """Fetches a bundle, and notes that it did."""

    def fetch(folder: Path) -> None:
        if calls is not None:
            calls.append(built.digest)
        for path in built.folder.iterdir():
            shutil.copyfile(path, folder / path.name)

    return fetch


def role(digest: str, version: str = "1") -> Role:
    return Role(version=version, bundle=f"bundles/{digest}", digest=digest)


def known(read_at: datetime, *digests: str, identity: str = "here") -> Known:
    names = ("champion", "challenger", "shadow")
    roles = {name: role(digest) for name, digest in zip(names, digests, strict=False)}
    return Known(identity, read_at, DesiredState(roles, salt="s"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", megabytes=1) as mount:
        yield mount


def test_a_bundle_is_fetched_once_and_a_damaged_one_again(
    built: Built, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []
    fetch = copier(built, calls)
    for cache in (Cache(tmp_path), Cache(tmp_path)):
        with cache.bundle(built.digest, "there", fetch) as folder:
            assert Bundle.load(folder, built.digest, USE_CASE).golden_rows > 0
    assert calls == [built.digest]

    model = folder / "model.onnx"
    good = model.read_bytes()
    for damage in (good[:-1] + bytes([good[-1] ^ 1]), b"", good + b"\0"):
        model.write_bytes(damage)
        caplog.clear()
        with cache.bundle(built.digest, "there", fetch) as folder:
            assert (folder / "model.onnx").read_bytes() == good
        assert [record.message for record in caplog.records] == ["cached bundle is not used"]
    assert len(calls) == 4
    # Half thrown away when somebody was killed.
    (folder / "golden.parquet").unlink()
    with cache.bundle(built.digest, "there", fetch):
        pass
    assert (len(calls), kept(tmp_path)) == (5, {built.digest})


def test_what_is_fetched_must_be_what_the_digest_names(built: Built, tmp_path: Path) -> None:
    def spoiled(folder: Path) -> None:
        copier(built)(folder)
        (folder / "features.sql").write_text("select 1")

    def never(folder: Path) -> None:
        raise StoreError("the store cannot be reached")

    cache = Cache(tmp_path)
    with (
        pytest.raises(BundleError, match=r"^s3://b/x/features\.sql: expected sha256"),
        cache.bundle(built.digest, "s3://b/x", spoiled),
    ):
        pass
    with (
        pytest.raises(StoreError, match="cannot be reached"),
        cache.bundle(built.digest, "s3://b/x", never),
    ):
        pass
    assert kept(tmp_path) == set()
    # Whoever loads it is told the name that it has in the store, too.
    with (
        pytest.raises(BundleError, match=r"^s3://b/x/manifest\.json: use case"),
        cache.bundle(built.digest, "s3://b/x", copier(built)) as folder,
    ):
        Bundle.load(folder, built.digest, "churn")


def test_a_kill_in_the_middle_of_a_fetch_leaves_nothing_half_there(
    built: Built, tmp_path: Path
) -> None:
    program = f"""
import shutil, time
from pathlib import Path
from serving.storage.cache import Cache
def fetch(folder):
    shutil.copy({str(built.folder / "model.onnx")!r}, folder)
    time.sleep(60)
with Cache(Path({str(tmp_path)!r})).bundle({built.digest!r}, "there", fetch):
    pass
"""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    partial = tmp_path / "v1" / "bundles" / f".partial-{built.digest}" / "model.onnx"
    wait_until(partial.exists, "half a bundle")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert kept(tmp_path) == {f".partial-{built.digest}"}
    calls: list[str] = []
    with Cache(tmp_path).bundle(built.digest, "there", copier(built, calls)) as folder:
        Bundle.load(folder, built.digest, USE_CASE)
    assert (calls, kept(tmp_path)) == ([built.digest], {built.digest})


def test_whoever_holds_the_lock_is_waited_for_and_not_for_ever(
    built: Built, tmp_path: Path
) -> None:
    cache = Cache(tmp_path)
    with (
        cache._locked(built.digest),
        pytest.raises(StoreError, match="another process is at it"),
        cache._locked(built.digest, 0.05),
    ):
        pass
    with cache._locked(built.digest, 0.0):
        pass


def test_what_is_named_and_the_last_few_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SPARE_BUNDLES", 2)
    monkeypatch.setattr(module, "_MOST_KNOWN", 1)
    cache = Cache(tmp_path / "cache")
    built = [make_bundle(tmp_path, seed) for seed in range(5)]
    first, second, third, fourth, fifth = (each.digest for each in built)
    cache.remember(known(NOW, first, second, identity="there"))
    cache.remember(known(NOW, first, second))
    (tmp_path / "cache" / "v1" / "bundles" / f".partial-{'0' * 64}").mkdir()
    for number, each in enumerate(built):
        with cache.bundle(each.digest, "there", copier(each)) as folder:
            os.utime(folder, (number, number))
    assert kept(tmp_path / "cache") == {first, second, fourth, fifth}
    assert cache.recall("there") is None
    assert cache.recall("here") is not None
    # Used again: fetched again, and the one that was used longest ago goes.
    with cache.bundle(third, "there", copier(built[2])):
        pass
    assert kept(tmp_path / "cache") == {first, second, third, fifth}


def test_what_should_serve_is_what_was_read_last(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.recall("here") is None
    cache.remember(known(NOW, "a" * 64))
    cache.remember(known(NOW - timedelta(seconds=1), "b" * 64))
    assert cache.recall("here") == known(NOW, "a" * 64)
    # A clock that was wrong must not hold up a withdrawal.
    cache.remember(known(NOW + timedelta(days=1), "c" * 64))
    cache.remember(known(NOW))
    assert cache.recall("here") == known(NOW)
    assert cache.recall("there") is None
    (path,) = (tmp_path / "v1" / "known").iterdir()
    for damaged in (b"", b"{", b"\xff", path.read_bytes()[:-9]):
        path.write_bytes(damaged)
        assert cache.recall("here") is None
    cache.remember(known(NOW, "a" * 64))
    assert cache.recall("here") is not None


def test_a_full_disk_keeps_no_bundle_and_no_version_that_is_withdrawn(
    built: Built, disk: Path
) -> None:
    other = make_bundle(built.root.parent / "another", 2)
    cache = Cache(disk / "cache")
    with cache.bundle(other.digest, "there", copier(other)):
        cache.remember(known(NOW - timedelta(minutes=1), built.digest))
    ballast = fill(disk)
    (disk / "cache" / "v1" / "bundles" / "x").symlink_to("nowhere")
    with (
        pytest.raises(StoreError, match=r"cannot fetch and keep a bundle: .*No space left"),
        cache.bundle(built.digest, "there", copier(built)),
    ):
        pass
    # Nobody names the other one, so it made room.
    assert kept(disk / "cache") == {"x"}
    fill(disk)
    with pytest.raises(OSError, match="No space left"):
        cache.remember(known(NOW))
    assert cache.recall("here") is None
    ballast.unlink()
    with cache.bundle(built.digest, "there", copier(built)) as folder:
        Bundle.load(folder, built.digest, USE_CASE)


def test_a_cache_that_others_could_change_is_refused(tmp_path: Path) -> None:
    Cache(tmp_path / "deep" / "cache")
    assert (tmp_path / "deep" / "cache" / "v1").stat().st_mode & 0o777 == 0o700
    for mode in (0o770, 0o707, 0o750):
        (tmp_path / "deep" / "cache" / "v1").chmod(mode)
        with pytest.raises(PermissionError, match=r"v1: must be a folder that only this user can"):
            Cache(tmp_path / "deep" / "cache")
    (tmp_path / "own").mkdir(mode=0o700)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "v1").symlink_to(tmp_path / "own")
    with pytest.raises(PermissionError, match="must be a folder"):
        Cache(tmp_path / "linked")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        Cache(tmp_path / "file")


def test_where_it_lies_unless_told(tmp_path: Path) -> None:
    assert default_folder({"MLOPS_HOME": "/srv/m", "HOME": "/x"}) == Path("/srv/m/serving-cache")
    own = {"HOME": str(tmp_path / "me"), "XDG_CACHE_HOME": str(tmp_path / "c")}
    assert default_folder(own) == tmp_path / "c" / "mlops-serving"
    del own["XDG_CACHE_HOME"]
    assert default_folder(own) == tmp_path / "me" / ".cache" / "mlops-serving"
    assert default_folder({}).name == f"mlops-serving-{os.geteuid()}"
