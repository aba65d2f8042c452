"""The gate's contest with a champion, through the asset and through a person's decision."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlops_assets.lib.digests import digest_of, file_digest
from mlops_assets.lib.records import sealed
from mlops_assets.lib.records.history import awaiting_rollout
from mlops_assets.operations.decide import RefusedError
from tests.platform import HEART, Platform, checks, platform
from tests.stages.test_decisions import answer, decisions
from tests.stages.test_gate import replay, same
from tests.versions import variant


@pytest.fixture
def undecided(trained: Platform, tmp_path: Path) -> Iterator[Platform]:
    """The trained platform before its decision."""
    with platform(tmp_path) as made:
        replay(trained, made, same)
        yield made


def crown(made: Platform, trained: Platform, candidate: str | None = None) -> None:
    """Make another version the champion."""
    first = trained.ledger.entries()[0]
    made.ledger.append("promoted", variant(made, "2", 0.4, first, candidate))


def perfect(made: Platform, trained: Platform) -> str:
    """A candidate that nobody beats: its scores are the outcomes."""
    first = trained.ledger.entries()[0]
    manifest = made.store.read_json(f"{first['path']}/manifest.json") or {}
    own = manifest["lineage"]["candidate"]
    scores = pl.read_parquet(made.store.local(f"{HEART}/candidates/{own}/predictions.parquet"))
    path = made.home / "predictions.parquet"
    target = pl.col("target").cast(pl.Float64)
    scores.with_columns(
        probability=target, out_of_fold=pl.when(pl.col("side") == "train").then(target)
    ).write_parquet(path)
    record: dict[str, Any] = {"files": {"predictions.parquet": file_digest(path)}}
    record["digest"] = digest_of(record)
    made.store.publish(path, f"{HEART}/candidates/{record['digest']}/predictions.parquet")
    sealed.seal(made.store, HEART, record)
    return str(record["digest"])


def test_a_tie_does_not_promote_and_a_person_may_outvote_it(
    undecided: Platform, trained: Platform
) -> None:
    crown(undecided, trained)
    result = undecided.materialize("promotion")
    assert not result.success
    found = checks(result)
    assert not found["promotion/gate"][0]
    passed, said = found["promotion/verdict"]
    assert not passed
    assert "a tie: it ranks every row as the champion does" in said
    entry = undecided.ledger.verify()[-1]
    assert (entry["decision"], entry["verdict"]["outcome"]) == ("rejected", "equivalent")
    assert {check["status"] for check in entry["checks"]} == {"passed"}
    assert not undecided.tick("rollout").run_requests
    approved = answer(undecided, "promote")
    assert decisions(undecided) == ["promoted", "rejected", "approved"]
    assert "a tie" in approved["outvoted"][0]
    assert awaiting_rollout(undecided.ledger.verify()) == approved
    # The gate leaves a person's word alone.
    assert undecided.materialize("promotion").success
    assert decisions(undecided) == ["promoted", "rejected", "approved"]


def test_what_is_worse_is_promoted_by_nobody(undecided: Platform, trained: Platform) -> None:
    crown(undecided, trained, perfect(undecided, trained))
    assert not undecided.materialize("promotion").success
    entry = undecided.ledger.verify()[-1]
    assert (entry["decision"], entry["verdict"]["outcome"]) == ("rejected", "worse")
    assert entry["verdict"]["difference"]["high"] < 0
    assert entry["verdict"]["rows"] == 303
    with pytest.raises(RefusedError, match="is not promoted by anybody: worse"):
        answer(undecided, "promote")
    assert decisions(undecided) == ["promoted", "rejected"]
