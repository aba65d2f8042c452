"""What only a bucket can do wrong: be busy or away, refuse, lose an answer, ignore a condition."""

import os
from pathlib import Path

import pytest

from mlops_assets.lib.records.ledger import Ledger, LedgerError
from mlops_assets.lib.storage import s3_place
from mlops_assets.lib.storage.root import Storage
from serving.storage.bucket import Bucket, StoreError
from tests.s3 import Seaweed
from tests.trouble import Trouble, listening


def test_a_store_that_is_busy_is_asked_again(trouble: Trouble, s3_root: str) -> None:
    store = Storage(s3_root)
    trouble.busy = 2
    store.write_json("a/b.json", {"n": 1})
    trouble.busy = 2
    assert store.read_json("a/b.json") == {"n": 1}
    trouble.busy = 1
    assert store.list("a") == ["b.json"]
    assert trouble.busy == 0


def test_an_answer_that_was_lost_does_not_hide_who_took_a_key(
    trouble: Trouble, s3_root: str
) -> None:
    store = Storage(s3_root)
    store.check()
    trouble.lost = 1
    assert store.create_json("record.json", {"n": 1})
    assert not store.create_json("record.json", {"n": 1})
    puts = [seen for seen in trouble.seen if seen.startswith("PUT") and "record" in seen]
    assert len(puts) == 3
    ledger = Ledger(store, "tiny")
    trouble.lost = 1
    ledger.append("approved", {"bundle": "a"})
    ledger.append("promoted", {"bundle": "a"})
    assert [entry["decision"] for entry in ledger.verify()] == ["approved", "promoted"]


class Oblivious(Trouble):
    """A store that has never heard of conditions: the last one wins."""

    def answer(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        self.seen.append(f"{method} {path}")
        if "list-type" in path:
            return 200, {}, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
        if method in ("GET", "HEAD"):
            return 404, {}, b"<Error><Code>NoSuchKey</Code></Error>"
        return (204 if method == "DELETE" else 200), {"ETag": '"1"'}, b""


def test_a_store_that_ignores_conditions_gets_no_ledger(
    s3_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Oblivious("")
    with listening(made) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        store = Storage(s3_root)
        with pytest.raises(LedgerError, match=r"only if it is not there \(If-None-Match\)"):
            Ledger(store, "tiny").append("approved", {"bundle": "a"})
        with pytest.raises(StoreError, match="conditional writes"):
            store.check()
    assert not [seen for seen in made.seen if "ledger" in seen and seen.startswith("PUT")]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, "refuses access .*check AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "refuses access .*check AWS_ACCESS_KEY_ID"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "the store at http://127.0.0.1:9 cannot be r"),
    ],
)
def test_what_stands_in_the_way_is_said_without_secrets(
    s3_root: str,
    seaweed: Seaweed,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    said: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3_place, "PATIENCE_SECONDS", 0.5)
    store = Storage(s3_root)
    for ask in (store.read_json, store.exists, store.list, lambda key: store.write_json(key, {})):
        with pytest.raises(StoreError, match=f"^{s3_root}/a: .*{said}") as e:
            ask("a")
        assert "\n" not in str(e.value)
        assert "wrong-secret" not in str(e.value)
        assert seaweed.secret not in str(e.value)


def test_a_bucket_that_is_not_there_is_no_empty_storage(s3_root: str) -> None:
    del s3_root
    store = Storage("s3://no-such-bucket/root")
    for ask in (store.read_json, store.exists, store.list):
        with pytest.raises(StoreError, match="there is no such bucket at http://127"):
            ask("a")


@pytest.mark.parametrize("url", ["s3://", "s3://b", "s3://bucket//x", "s3://bucket/../x", "gs://x"])
def test_a_root_that_is_no_place_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="s3://bucket/prefix"):
        Storage(url)


def test_a_copy_is_made_once_and_again_when_it_is_damaged(s3_root: str, tmp_path: Path) -> None:
    store = Storage(s3_root)
    with store.writing("objects/a") as partial:
        partial.mkdir()
        (partial / "one").write_text("1")
        (partial / "two").write_text("22")
    first = store.local("objects/a")
    before = (first / "one").stat().st_ino
    assert (store.local("objects/a") / "one").stat().st_ino == before
    (first / "one").write_text("")
    assert (store.local("objects/a") / "one").read_text() == "1"
    cache = tmp_path / "home" / "cache"
    assert len(list(cache.iterdir())) == 1
    # What nobody used for a day goes when something new comes.
    os.utime(next(cache.iterdir()), (0, 0))
    store.write_json("b.json", {})
    store.local("b.json")
    (kept,) = cache.iterdir()
    assert [path.name for path in kept.iterdir()] == ["b.json"]


def test_an_object_that_was_replaced_while_it_was_read_is_an_error(
    s3_root: str, tmp_path: Path
) -> None:
    store, reader = Storage(s3_root), Bucket(s3_root, 1)
    store.write_json("a.json", {"n": 1})
    found = reader.look("a.json")
    assert found is not None
    store.write_json("a.json", {"n": 2})
    with pytest.raises(StoreError, match=r"a\.json: was replaced while it was read"):
        reader.download(found, tmp_path / "copy")


def test_what_is_removed_leaves_no_copy_behind(s3_root: str, tmp_path: Path) -> None:
    store = Storage(s3_root)
    with store.writing("objects/a") as partial:
        partial.mkdir()
        (partial / "one").write_text("1")
    store.local("objects/a")
    store.local("objects/a/one")
    assert len(list((tmp_path / "home" / "cache").iterdir())) == 2
    store.remove("objects/a")
    assert list((tmp_path / "home" / "cache").iterdir()) == []
    assert not store.exists("objects/a")
