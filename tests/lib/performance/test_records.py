"""A record that a broken disk has damaged is one that is not there, and is made anew."""

import pytest

from mlops_assets.lib.drift import records as drift
from mlops_assets.lib.performance import records as performance
from mlops_assets.lib.storage.root import DamagedError, Storage


@pytest.mark.parametrize("content", ['{"trunc', "[]", "\udcff", "[" * 100_000])
def test_what_cannot_be_read_is_not_there(tmp_path: object, content: str) -> None:
    store = Storage(str(tmp_path))
    for key in ("any/performance/2026-01-31/record.json", "any/drift/days/2026-01-31/verdict.json"):
        with store.writing(key) as partial:
            partial.write_bytes(content.encode(errors="surrogateescape"))
        with pytest.raises(DamagedError, match=key):
            store.read_json(key)
    assert performance.read(store, "any", "2026-01-31") is None
    assert performance.latest(store, "any") == []
    assert drift.read(store, "any", "days", "2026-01-31") is None
