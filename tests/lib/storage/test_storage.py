import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_assets.lib.storage.root import ChangedError, DamagedError, Storage

# Writes for ever through one `writing`, and says when the first bytes are there.
SLOW_WRITER = """
import sys, time
from pathlib import Path
from mlops_assets.lib.storage.root import Storage
with Storage(sys.argv[1]).writing(sys.argv[2]) as partial:
    if sys.argv[3] == "folder":
        partial.mkdir()
        partial = partial / "part"
    with partial.open("w") as handle:
        while True:
            handle.write("half" * 1000)
            handle.flush()
            print("writing", flush=True)
            time.sleep(0.01)
"""

# Waits for the others, then tries to take one key.
RACER = """
import sys, time
from pathlib import Path
from mlops_assets.lib.storage.root import Storage
store = Storage(sys.argv[1])
time.sleep(max(0.0, float(sys.argv[3]) - time.time()))
print(store.create_json("record.json", {"writer": sys.argv[2]}))
"""


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Wherever it lies, it behaves alike."""
    remote = request.param == "s3"
    return Storage(request.getfixturevalue("s3_root") if remote else tmp_path / "root")


def files(storage: Storage) -> set[str]:
    """Every file under the root, partial ones included."""
    return {file.key for file in storage.files(".")}


def test_file_is_published_when_the_block_ends(storage: Storage) -> None:
    with storage.writing("a/b.txt") as partial:
        partial.write_text("new")
        assert not storage.exists("a/b.txt")
        assert storage.list("a") == []
    assert storage.local("a/b.txt").read_text() == "new"
    assert files(storage) == {"a/b.txt"}


def fail_while_writing(storage: Storage, key: str, kind: str) -> None:
    """Raise in the middle of a `writing` block, with something written."""
    with storage.writing(key) as partial:
        if kind == "folder":
            partial.mkdir()
            partial = partial / "part"
        partial.write_text("half of the n")
        raise RuntimeError("stop")


def test_exception_leaves_the_old_file(storage: Storage) -> None:
    storage.write_json("a.json", {"is": "old"})
    with pytest.raises(RuntimeError, match="stop"):
        fail_while_writing(storage, "a.json", "file")
    assert storage.read_json("a.json") == {"is": "old"}
    assert files(storage) == {"a.json"}


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_exception_leaves_nothing_half_done(storage: Storage, kind: str) -> None:
    with pytest.raises(RuntimeError, match="stop"):
        fail_while_writing(storage, "new", kind)
    assert not storage.exists("new")
    assert files(storage) == set()
    assert storage.leftovers(".") == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_kill_in_the_middle_of_writing_leaves_nothing_under_the_name(
    storage: Storage, kind: str
) -> None:
    storage.write_json("batches/other.json", {})
    command = [sys.executable, "-c", SLOW_WRITER, storage.root, "batches/new", kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    # On a disk there is what the killed process left; an upload that was not finished is nothing.
    assert len(storage.leftovers(".")) == (not storage.root.startswith("s3://"))
    assert storage.list("batches") == ["other.json"]
    assert not storage.exists("batches/new")
    # Its remains do not stand in the way of the next attempt.
    with storage.writing("batches/new") as partial:
        partial.write_text("whole")
    assert storage.list("batches") == ["new", "other.json"]


def test_kill_in_the_middle_of_replacing_leaves_the_old_file(storage: Storage) -> None:
    storage.write_json("pointer.json", {"is": "old"})
    command = [sys.executable, "-c", SLOW_WRITER, storage.root, "pointer.json", "file"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        os.kill(process.pid, signal.SIGKILL)
    assert storage.read_json("pointer.json") == {"is": "old"}


def test_reader_that_has_the_old_file_open_reads_it_to_its_end(storage: Storage) -> None:
    storage.write_json("pointer.json", {"is": "old"})
    with storage.local("pointer.json").open() as handle:
        storage.write_json("pointer.json", {"is": "new"})
        assert json.load(handle) == {"is": "old"}
    assert storage.read_json("pointer.json") == {"is": "new"}


def test_folder_that_is_there_is_kept(storage: Storage) -> None:
    for content in ("first", "second"):
        with storage.writing("objects/digest") as partial:
            partial.mkdir()
            (partial / "file").write_text(content)
    assert (storage.local("objects/digest") / "file").read_text() == "first"
    assert storage.exists("objects/digest")
    assert files(storage) == {"objects/digest/file"}


def test_two_that_publish_one_folder_at_once_both_succeed(storage: Storage) -> None:
    # Both have looked and found nothing before either publishes.
    with storage.writing("objects/digest") as slow:
        slow.mkdir()
        (slow / "file").write_text("slow")
        with storage.writing("objects/digest") as quick:
            quick.mkdir()
            (quick / "file").write_text("quick")
    assert (storage.local("objects/digest") / "file").read_text() == "quick"
    assert files(storage) == {"objects/digest/file"}


def test_folder_never_replaces_a_file(storage: Storage) -> None:
    storage.write_json("name", {"is": "a file"})
    with pytest.raises(NotADirectoryError), storage.writing("name") as partial:
        partial.mkdir()
    assert storage.read_json("name") == {"is": "a file"}


def test_published_copy_leaves_the_original(storage: Storage, tmp_path: Path) -> None:
    folder = tmp_path / "local" / "deep"
    folder.mkdir(parents=True)
    (folder / "file").write_text("content")
    storage.publish(tmp_path / "local", "objects/a")
    storage.publish(folder / "file", "objects/b")
    assert files(storage) == {"objects/a/deep/file", "objects/b"}
    assert (folder / "file").read_text() == "content"


def test_create_json_takes_a_free_key_once(storage: Storage) -> None:
    assert storage.create_json("a/r.json", {"n": 1})
    assert not storage.create_json("a/r.json", {"n": 2})
    assert storage.read_json("a/r.json") == {"n": 1}
    assert files(storage) == {"a/r.json"}


def test_one_of_eight_threads_takes_a_key(storage: Storage) -> None:
    barrier = Barrier(8)

    def race(number: int, record: int) -> bool:
        barrier.wait()
        return storage.create_json(f"{record}.json", {"writer": number})

    for record in range(5):
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(race, range(8), [record] * 8))
        assert won.count(True) == 1
        assert storage.read_json(f"{record}.json") == {"writer": won.index(True)}
    assert files(storage) == {f"{record}.json" for record in range(5)}


def test_one_of_eight_processes_takes_a_key(storage: Storage) -> None:
    start = str(time.time() + 1.0)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, storage.root, str(number), start],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(8)
    ]
    said = [racer.communicate(timeout=30)[0].strip() for racer in racers]
    assert sorted(said) == ["False"] * 7 + ["True"]
    assert storage.read_json("record.json") == {"writer": str(said.index("True"))}


@pytest.mark.parametrize(
    "key", ["../x", "a/../../x", "/etc/passwd", "..", "../root-of-another/x", "a/../.."]
)
def test_key_that_leaves_the_root_is_refused(storage: Storage, key: str) -> None:
    with pytest.raises(ValueError, match="leaves the storage root"):
        storage.local(key)
    with pytest.raises(ValueError, match="leaves the storage root"):
        storage.uri(key)
    with pytest.raises(ValueError, match="leaves the storage root"):
        storage.write_json(key, {})


@given(st.lists(st.sampled_from(["a", "b", "..", ".", "", "...", "a..b"]), max_size=6))
@settings(deadline=None, derandomize=True)
def test_path_of_a_key_is_under_the_root_or_refused(parts: list[str]) -> None:
    storage = Storage(Path("/storage/root"))
    try:
        path = Path(storage.uri("/".join(["k", *parts])))
    except ValueError:
        depths = [sum({"..": -1, ".": 0, "": 0}.get(p, 1) for p in parts[:n]) for n in range(7)]
        assert min(depths) < -1
    else:
        assert path.parts[:3] == ("/", "storage", "root")
        assert ".." not in path.parts


def test_root_may_be_written_with_dots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Storage(Path("a/../b")).write_json("k.json", {"n": 1})
    assert Storage(tmp_path / "b").read_json("k.json") == {"n": 1}


def test_json_is_readable_and_the_same_for_the_same_value(storage: Storage) -> None:
    storage.write_json("a.json", {"b": "é", "a": 1})
    assert storage.local("a.json").read_text(encoding="utf-8") == '{\n  "a": 1,\n  "b": "é"\n}\n'


def test_number_that_json_does_not_have_is_refused(storage: Storage) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write_json("a.json", {"n": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.create_json("a.json", {"n": float("inf")})
    assert files(storage) == set()


def test_what_is_not_there_reads_as_none(storage: Storage) -> None:
    assert storage.read_json("a/b.json") is None
    assert storage.list("a") == []
    assert not storage.exists("a")


def test_damaged_pointer_is_an_error_and_not_nothing(storage: Storage) -> None:
    storage.write_json("a.json", {})
    with storage.writing("a.json") as partial:
        partial.write_text("")
    with pytest.raises(DamagedError, match=r"a\.json cannot be read"):
        storage.read_json("a.json")


def test_list_is_sorted_and_one_level_deep(storage: Storage) -> None:
    for key in ("x/b.json", "x/a.json", "x/c/d.json", "y.json"):
        storage.write_json(key, {})
    assert storage.list("x") == ["a.json", "b.json", "c"]
    assert storage.list("y.json") == []


def test_what_was_judged_is_what_is_read(storage: Storage) -> None:
    with storage.writing("objects/a") as partial:
        partial.mkdir()
        (partial / "one").write_text("1")
        (partial / "two").write_text("2")
    names = {
        name: hashlib.sha256(text).hexdigest() for name, text in (("one", b"1"), ("two", b"2"))
    }
    folder = storage.verified_folder("objects/a", names)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"one": "1", "two": "2"}
    assert storage.verified("objects/a/one", names["one"]).read_text() == "1"
    with storage.writing("objects/a/two") as partial:
        partial.write_text("edited")
    with pytest.raises(ChangedError, match="objects/a/two is gone or has changed"):
        storage.verified_folder("objects/a", names)
    storage.remove("objects/a/one")
    with pytest.raises(ChangedError, match="objects/a/one is gone or has changed"):
        storage.verified("objects/a/one", names["one"])


KEYS = ["a.json", "x/a.json", "x/it's [a] *.json", "x/y/é.json", "f/1/a", "f/1/b"]
OPERATION = st.tuples(
    st.sampled_from(["write", "create", "publish", "remove"]),
    st.sampled_from(KEYS),
    st.integers(0, 2),
)


def apply(storage: Storage, verb: str, key: str, number: int) -> Any:
    """Do one thing, and say what came of it."""
    if verb == "write":
        return storage.write_json(key, {"n": number})
    if verb == "create":
        return storage.create_json(key, {"n": number})
    if verb == "remove":
        return storage.remove(key)
    with storage.writing(f"folders/{number}") as partial:
        partial.mkdir()
        for name in range(number + 1):
            (partial / f"{name}").write_text(f"{number}")
    return None


@given(st.lists(OPERATION, max_size=12))
@settings(
    deadline=None,
    derandomize=True,
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_bucket_behaves_as_a_folder_does(
    tmp_path: Path, s3_root: str, operations: list[tuple[str, str, int]]
) -> None:
    name = uuid.uuid4().hex
    both = [Storage(tmp_path / name), Storage(f"{s3_root}/{name}")]
    for operation in operations:
        one, other = (apply(storage, *operation) for storage in both)
        assert one == other
    for key in KEYS:
        one, other = ((storage.exists(key), storage.read_json(key)) for storage in both)
        assert one == other
    for prefix in ("x", "x/y", "folders/0", "folders/1", "folders/2"):
        assert both[0].list(prefix) == both[1].list(prefix)
    local, remote = ({(f.key, f.size) for f in storage.files(".")} for storage in both)
    assert local == remote


@pytest.mark.parametrize("root", ["s3:/bucket", "gs://bucket", "s3:bucket/prefix"])
def test_a_root_that_is_meant_to_be_elsewhere_is_no_folder(root: str) -> None:
    with pytest.raises(ValueError, match="give a local folder"):
        Storage(root)


def test_a_record_is_added_to_a_published_folder(storage: Storage) -> None:
    with storage.writing("a/folder") as partial:
        partial.mkdir()
        (partial / "one").write_text("1")
    for value in ({"n": 1}, {"n": 2}):
        storage.add_json("a/folder", "two.json", value)
        assert storage.read_json("a/folder/two.json") == value
    assert files(storage) == {"a/folder/one", "a/folder/two.json"}
    assert sorted(path.name for path in storage.local("a/folder").iterdir()) == ["one", "two.json"]


def test_a_folder_never_holds_a_half_written_record(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    with storage.writing("a/folder") as partial:
        partial.mkdir()
    (tmp_path / "a/folder/two.json").mkdir()  # no file can take its place
    with pytest.raises(OSError, match=r"two\.json"):
        storage.add_json("a/folder", "two.json", {})
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "folder", "two.json"]
