"""A bad batch is taken out, and put back, by lines of the ledger alone."""

from collections.abc import Iterator

import pytest

from mlops_assets.lib.records import current
from mlops_assets.lib.records.history import awaiting_rollout, withdrawn
from mlops_assets.operations.withdraw import UnknownBatchError, serves_withdrawn, withdraw
from tests.platform import DATA, HEART, Platform, checks, platform


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Two batches, and a version that was made of both."""
    lines = (DATA / "heart_cleveland.csv").read_text().splitlines(keepends=True)
    with platform(tmp_path_factory.mktemp("two")) as made:
        for name, rows in (("good.csv", lines[:241]), ("bad.csv", [lines[0], *lines[241:]])):
            assert made.ingest(made.land("".join(rows), name)).success
        assert made.run("retrain").success
        yield made


def out(made: Platform, batch: str, **options: bool) -> bool:
    entry = withdraw(made.store, made.spec, batch, actor="ann", reason="wrong clinic", **options)
    return entry is not None


def batch(made: Platform, slug: str) -> str:
    (key,) = (key for key in map(str, made.batches.keys()) if key.startswith(f"{slug}-"))
    return key


def version(made: Platform) -> str:
    record = current.read(made.store, HEART, "registered_version")
    assert record is not None
    return str(record["digest"])


def rows(made: Platform) -> int:
    record = current.read(made.store, HEART, "training_set")
    assert record is not None
    return sum(record["rows"].values())


def test_a_withdrawn_batch_leaves_training_until_it_is_put_back(two: Platform) -> None:
    both, bad = version(two), batch(two, "bad")
    assert rows(two) == 303
    assert awaiting_rollout(two.ledger.entries()) is not None

    assert out(two, bad)
    assert withdrawn(two.ledger.verify()) == {bad}
    assert two.ledger.entries()[-1]["reasons"] == ["wrong clinic"]
    # What was approved before is not rolled out any more, and cannot be approved again.
    assert awaiting_rollout(two.ledger.entries()) is None
    said = checks(two.materialize("promotion"))["promotion/gate"]
    assert said[0] is False
    assert f"batch {bad} was withdrawn" in said[1]

    assert bad in str(two.tick("landing").skip_reason)
    (request,) = two.tick("retrain").run_requests or []
    assert two.run("retrain", tags=request.tags).success
    assert rows(two) == 240
    assert two.tick("retrain").run_requests == []
    alone = two.ledger.entries()[-1]
    assert alone["decision"] == "approved"
    assert alone["batches"] == [batch(two, "good")]
    assert alone["bundle"] == version(two) != both

    assert out(two, bad, undo=True)
    assert withdrawn(two.ledger.verify()) == set()
    (request,) = two.tick("retrain").run_requests or []
    assert two.run("retrain", tags=request.tags).success
    assert version(two) == both
    assert (awaiting_rollout(two.ledger.entries()) or {})["bundle"] == both


def test_a_batch_is_taken_out_once(two: Platform) -> None:
    good = batch(two, "good")
    before = len(two.ledger.entries())
    assert not out(two, good, undo=True)
    assert out(two, good)
    assert not out(two, good)
    assert out(two, good, undo=True)
    assert len(two.ledger.entries()) == before + 2


def test_an_unknown_batch_is_named_with_its_likes(two: Platform) -> None:
    with pytest.raises(UnknownBatchError, match=f"did you mean {batch(two, 'good')}"):
        out(two, batch(two, "good")[:-1])


def test_a_champion_that_was_trained_on_it_is_said(two: Platform) -> None:
    entries = two.ledger.entries()
    approved = next(e for e in entries if e["decision"] == "approved" and len(e["batches"]) == 2)
    promoted = {**approved, "decision": "promoted"}
    gone = {"decision": "withdrawn", "batch": batch(two, "bad")}
    assert serves_withdrawn(two.store, [promoted]) == []
    assert serves_withdrawn(two.store, [promoted, gone]) == [batch(two, "bad")]
    assert serves_withdrawn(two.store, [gone]) == []


def test_a_reason_is_one_line(two: Platform) -> None:
    with pytest.raises(ValueError, match="say why"):
        withdraw(two.store, two.spec, batch(two, "bad"), actor="ann", reason=" \n ")
