"""Labels that come in time for a step of a rollout."""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.lib.rollout_analysis.judge import judge
from mlops_assets.lib.rollout_analysis.sample import Labelled, Sample
from mlops_assets.lib.spec.rollout import Analysis
from mlops_assets.lib.spec.specs import load_spec
from mlops_assets.lib.storage.root import Storage
from mlops_assets.rollout.labelled import labelled
from tests.lib.performance.helpers import CASE, outcomes, served, told, write
from tests.lib.rollout_analysis.test_analysis import usual

TODAY = datetime.now(UTC).date().isoformat()


def answered(store: Storage) -> int:
    """The champion's answers, and those of a shadow that says the contrary; how many are wrong."""
    frame = served(store, TODAY)
    shadow = frame.with_columns(
        role=pl.lit("shadow"), version=pl.lit("2"), probability=1 - pl.col("probability")
    )
    write(store, "served", TODAY, "worker-2", shadow)
    labels = outcomes(frame)[:200]
    told(store, TODAY, frame["prediction_id"].to_list()[:200], labels)
    said = [p >= 0.5 for p in frame["probability"][:200]]
    return sum(s != (label == "1") for s, label in zip(said, labels, strict=True))


def test_wrong_answers_are_counted_by_role_and_version(tmp_path: Path) -> None:
    store, spec = Storage(tmp_path), load_spec(CASE)
    since = datetime.now(UTC) - timedelta(seconds=1)
    assert labelled(store, spec, since) == {}
    wrong = answered(store)
    assert labelled(store, spec, since) == {
        ("champion", "1"): Labelled(200, wrong),
        ("shadow", "2"): Labelled(200, 200 - wrong),
    }
    # What was there before the step says nothing of it.
    for file in (tmp_path / CASE).rglob("*.parquet"):
        os.utime(file, (since.timestamp() - 1, since.timestamp() - 1))
    assert labelled(store, spec, since) == {}


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        (Labelled(300, 60), "successful"),
        (Labelled(300, 84), "inconclusive"),
        (Labelled(300, 150), "failed"),
        # Too few have a label by now: nothing is asked, and nothing is waited for.
        (Labelled(90, 90), "successful"),
    ],
)
def test_a_version_that_is_more_often_wrong_is_taken_back(ours: Labelled, verdict: str) -> None:
    theirs = replace(usual(1, 3000), labelled=Labelled(1000, 200))
    found = judge(Sample(theirs, replace(usual(2, 300), labelled=ours)), "challenger", Analysis())
    assert found.verdict == verdict, found.said
    asked = [m for m in found.measures if m.name.startswith("wrong answers")]
    assert len(asked) == (ours.rows >= 100)
