from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mlops_assets.lib.training_set import giveaways as module
from mlops_assets.lib.training_set.files import ROWS
from mlops_assets.lib.training_set.giveaways import Telling, giveaways


def written(folder: Path, rows: int = 400, positive: float = 0.3) -> None:
    """A training set with an honest feature and four that give the outcome away in their ways."""
    random = np.random.default_rng(1)
    target = (random.random(rows) < positive).astype(np.int8)
    noise = random.normal(size=rows)
    side = np.where(np.arange(rows) % 5 == 0, "test", "train")
    pl.DataFrame(
        {
            "row_id": [str(number) for number in range(rows)],
            "side": side,
            "target": target,
            "honest": (target + noise).astype(np.float32),
            "copied": (2 * target + 0.1 * noise).astype(np.float32),
            "reversed": (-target).astype(np.float32),
            # Written down only about those who were ill: that it is missing tells.
            "only_of_ill": pl.Series(
                [float(n) if t else None for n, t in zip(noise, target, strict=True)],
                dtype=pl.Float32,
            ),
            # On the test side alone it tells nothing of training.
            "of_test": np.where(side == "test", target, noise).astype(np.float32),
        }
    ).write_parquet(folder / ROWS)


FEATURES = ["honest", "copied", "reversed", "only_of_ill", "of_test"]


def test_features_that_give_the_outcome_away_are_named(tmp_path: Path) -> None:
    written(tmp_path)
    found = giveaways(tmp_path, FEATURES)
    assert (found.rows, len(found.telling)) == (320, 5)
    assert [each.feature for each in found.above(0.995)] == ["copied", "only_of_ill", "reversed"]
    assert found.above(1.0) == []
    alone = {each.feature: each.roc_auc for each in found.telling}
    assert 0.6 < alone["honest"] < 0.9
    assert 0.5 <= alone["of_test"] < 0.6


def test_few_rows_raise_no_alarm(tmp_path: Path) -> None:
    written(tmp_path, rows=60)
    found = giveaways(tmp_path, FEATURES)
    assert found.rarer < 20
    assert found.telling[0] == Telling("copied", 1.0)
    assert found.above(0.995) == []


def test_one_class_tells_nothing(tmp_path: Path) -> None:
    written(tmp_path, positive=0.0)
    assert giveaways(tmp_path, FEATURES).telling == []


def test_a_large_training_set_is_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 150)
    monkeypatch.setattr(module, "READ_ROWS", 64)
    written(tmp_path)
    found = giveaways(tmp_path, FEATURES)
    assert found.rows == 150
    assert {each.feature for each in found.above(0.995)} == {"copied", "only_of_ill", "reversed"}
