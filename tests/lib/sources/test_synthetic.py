import time

import polars as pl
import pytest

from mlops_assets.lib.synthetic.origin import best_auc
from tests.lib.sources.helpers import Place


def test_each_fetch_lands_one_more_batch_with_the_next_seed(place: Place) -> None:
    spec = {"name": "made", "kind": "synthetic", "generator": "churn", "rows": 200, "seed": 7}
    first, second = place.fetch(**spec), place.fetch(**spec)
    assert [found.about["seed"] for found in (first, second)] == [7, 8]
    assert place.names == ["synthetic-made-seed-7.csv", "synthetic-made-seed-8.csv"]
    assert first.about["rows"] == 200
    # What no model can beat is known of batches that were all generated.
    place.batches.look(time.time() + 10)
    keys = place.batches.keys()
    store = place.batches.storage
    single = [best_auc(store, "tiny", [found.landed[0].key]) or 0 for found in (first, second)]
    assert single == [found.about["best reachable ROC AUC"] for found in (first, second)]
    both = best_auc(store, "tiny", keys)
    assert both == pytest.approx(sum(single) / 2, abs=0.02)
    assert best_auc(store, "tiny", [*keys, "drawn-by-somebody"]) is None
    rows = [pl.read_csv(path) for path in place.landed]
    assert not rows[0].equals(rows[1])
    # A fetch that was killed before its number was remembered is done again.
    place.batches.storage.write_json("tiny/sources/made.json", {"batches": 1})
    assert place.fetch(**spec).new == []
