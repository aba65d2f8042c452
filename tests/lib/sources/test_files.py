import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.lib.sources.inbox import SourceError
from tests.faulty import Answer, HttpServer, forward_to, http_server
from tests.lib.sources.helpers import Place
from tests.s3 import Seaweed

BUSY = Answer(503, b"<Error><Code>ServiceUnavailable</Code><Message>Busy.</Message></Error>")


def write(path: Path, content: str, at: float = 1_000_000_000.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (at, at))


def local(folder: Path, pattern: str = "", **spec: Any) -> dict[str, Any]:
    return {"name": "exports", "kind": "files", "url": f"{folder}{pattern}", **spec}


def test_new_and_changed_files_land_once(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "exports"
    write(folder / "a.csv", "age\n1\n")
    write(folder / "below" / "b.csv", "age\n2\n")
    write(folder / "_SUCCESS", "")
    first = place.fetch(**local(folder))
    assert [landed.name for landed in first.new] == ["a.csv", "b.csv"]
    assert place.fetch(**local(folder)).about == {"files": 2, "read": 0}
    write(folder / "a.csv", "age\n3\n", at=1_000_000_001.0)
    write(folder / "below" / "b.csv", "age\n2\n", at=1_000_000_001.0)  # touched, not changed
    second = place.fetch(**local(folder))
    assert second.about["read"] == 2
    assert [landed.name for landed in second.new] == ["a.csv"]
    place.batches.look(2e9)
    assert {landed.key for landed in first.new + second.new} == set(place.batches.keys())


def test_a_pattern_chooses_and_a_bad_file_does_not_stop_the_others(
    place: Place, tmp_path: Path
) -> None:
    folder = tmp_path / "exports"
    write(folder / "a.csv", "age\n" + "1\n" * 100)
    write(folder / "b.csv", "age\n2\n")
    write(folder / "c.txt", "no")
    (folder / "new.csv").write_text("age\n")
    found = place.fetch(**local(folder, "/*.csv", max_bytes=50))
    assert place.names == ["b.csv"]
    too_large, unsettled = found.problems
    assert "a.csv: 204 bytes are above max_bytes, 50" in too_large
    assert "new.csv: it may still be written" in unsettled


@pytest.mark.parametrize("pattern", ["", "/*.csv", "/2026-*/[ab].csv"])
def test_a_folder_that_is_not_there_is_named(place: Place, tmp_path: Path, pattern: str) -> None:
    with pytest.raises(SourceError, match=r"source exports: /.*/nowhere.* is not there"):
        place.fetch(**local(tmp_path / "nowhere", pattern))


@pytest.fixture
def store(seaweed: Seaweed) -> Iterator[HttpServer]:
    """The S3 store behind a proxy that can be told to fail."""
    with http_server(forward_to(seaweed.endpoint)) as server:
        yield server


def bucket(place: Place, store: HttpServer, seaweed: Seaweed, **spec: Any) -> dict[str, Any]:
    place.environment |= {"ENDPOINT": store.url, "KEY": seaweed.key, "SECRET": seaweed.secret}
    named = {"endpoint_env": "ENDPOINT", "key_env": "KEY", "secret_env": "SECRET"}
    return {"name": "exports", "kind": "files", **named, **spec}


def test_a_bucket_that_answers_503_is_asked_again(
    place: Place, store: HttpServer, seaweed: Seaweed
) -> None:
    name = seaweed.bucket()
    files = seaweed.filesystem()
    files.pipe(f"{name}/churn/a.csv", b"age\n1\n")
    files.pipe(f"{name}/churn/b.json", b"{}")
    spec = bucket(place, store, seaweed, url=f"s3://{name}/churn/*.csv")
    store.faults.extend([BUSY, BUSY])
    first = place.fetch(**spec)
    assert not store.faults
    assert [landed.name for landed in first.new] == ["a.csv"]
    assert place.landed[0].read_bytes() == b"age\n1\n"
    assert place.fetch(**spec).about == {"files": 1, "read": 0}
    files.pipe(f"{name}/churn/a.csv", b"age\n22\n")
    assert [landed.size for landed in place.fetch(**spec).new] == [7]
    # One that stays busy is an error that says so, and what has landed is remembered.
    store.faults.extend([BUSY] * 50)
    with pytest.raises(SourceError, match=r"source exports: .*(Busy|reduce|unavailable|503)"):
        place.fetch(**spec, attempts=2)
    store.faults.clear()
    assert place.fetch(**spec).about == {"files": 1, "read": 0}


def test_wrong_credentials_are_named_and_not_shown(
    place: Place, store: HttpServer, seaweed: Seaweed
) -> None:
    spec = bucket(place, store, seaweed, url=f"s3://{seaweed.bucket()}/")
    place.environment["SECRET"] = "hunter2-hunter2"
    with pytest.raises(SourceError, match=r"lets nobody in: .*look at ENDPOINT, KEY, SECRET") as e:
        place.fetch(**spec)
    assert "hunter2" not in str(e.value)
    assert e.value.__cause__ is None
    assert e.value.__context__ is None
    del place.environment["SECRET"]
    with pytest.raises(SourceError, match=r"the environment variable SECRET is not set"):
        place.fetch(**spec)
    place.environment["SECRET"] = seaweed.secret
    with pytest.raises(SourceError, match=r"s3://no-such-bucket/x is not there"):
        place.fetch(**{**spec, "url": "s3://no-such-bucket/x"})
