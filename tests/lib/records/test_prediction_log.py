"""The folders of the prediction log, and what else may lie beside them."""

from datetime import date
from pathlib import Path

from mlops_assets.lib.records.prediction_log import days, files, state
from mlops_assets.lib.storage.root import Storage


def test_a_folder_that_is_named_after_no_day_is_passed_over(tmp_path: Path) -> None:
    for day in ("2026-01-31", "2026-02-30", "2026-13-01"):
        folder = tmp_path / "any" / "served" / f"day={day}"
        folder.mkdir(parents=True)
        (folder / "worker-1.parquet").write_text("rows")
    store = Storage(str(tmp_path))
    assert list(days(store, "any", "served")) == [date(2026, 1, 31)]
    assert list(files(store, "any", "served").values()) == [date(2026, 1, 31)]
    assert list(state(store, "any", "served")) == ["2026-01-31"]
