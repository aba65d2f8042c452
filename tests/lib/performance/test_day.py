"""A day of answers and its labels: late, unknown, twice, contradictory, and broken files."""

from pathlib import Path

import polars as pl
import pytest

from mlops_assets.lib.performance import answers, told
from mlops_assets.lib.performance.judge import judged
from mlops_assets.lib.records.prediction_log import state
from mlops_assets.lib.storage.root import Storage
from tests.lib.performance.helpers import CASE, ids, outcomes, served, write
from tests.lib.performance.helpers import told as tell
from tests.platform import quick_spec

SPEC = quick_spec()
DAY, AFTER = "2026-01-05", "2026-01-06"


@pytest.fixture
def store(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def looked_up(store: Storage, day: str) -> dict[str, object]:
    record = told.look_up(store, CASE, day, state(store, CASE, "feedback")[day])
    told.write(store, CASE, record)
    return record


def read(store: Storage, day: str = DAY) -> tuple[list[answers.Answers], list[str]]:
    labels = [store.local(key) for key in told.files(store, CASE, day)]
    with answers.day(store.local(f"{CASE}/served/day={day}"), labels) as found:
        return list(found.answers("0", ["sex"])), found.said


def inputs(store: Storage) -> dict[str, str]:
    return told.inputs(state(store, CASE, "served"), told.every(store, CASE))


def test_measured_and_estimated_agree_where_scores_are_calibrated(store: Storage) -> None:
    frame = served(store, DAY)
    served(store, DAY, 120, role="shadow", version="2", bundle="c" * 64, name="shadow")
    tell(store, AFTER, frame["prediction_id"].to_list(), outcomes(frame))
    found, said = read(store)
    assert said == []
    champion, shadow = (judged(each, SPEC) for each in found)
    assert (champion["role"], champion["rows"], champion["labelled"]) == ("champion", 300, 300)
    assert champion["measured"].keys() == champion["estimated"].keys() | {"calibration_error"}
    for name in ("accuracy", "roc_auc", "recall"):
        assert abs(champion["error"][name]) < 0.08
        assert champion["error"][name] == pytest.approx(
            champion["estimated"][name]["value"] - champion["measured"][name]["value"]
        )
    # Its answers share the ids of the champion's, and so their labels.
    assert (shadow["role"], shadow["labelled"]) == ("shadow", 120)
    assert shadow["measured"]
    assert {(s["column"], s["value"]) for s in champion["slices"]} == {("sex", "0"), ("sex", "1")}
    assert found[0].lag[0] == 28 * 3600


def test_the_last_label_counts_and_contradictions_are_said(store: Storage) -> None:
    one, two, three = ids(DAY, 3)
    served(store, DAY, 3)
    tell(store, DAY, [one, two, three], ["0", "1", "maybe"])
    tell(store, AFTER, [one, two, two], ["1", "1", "1"])
    record = looked_up(store, AFTER)
    assert (record["labels"], record["repeated"], record["contradictory"]) == (2, 1, 0)
    (found,), said = read(store)
    assert found.target[:2].tolist() == [1, 1]
    assert found.target[2] != found.target[2]
    assert said == [
        "1 answers have contradictory labels: the last one counts",
        "version 1 (champion): 1 labels are neither 0 nor 1, and do not count",
    ]


@pytest.mark.parametrize(
    ("rows", "labels", "said"),
    [
        (1, ["1"], ["not measured: 1 labels, and 100 are needed", "not estimated: 1 answers"]),
        (150, ["1"] * 150, ["not measured: 0 of 150 labels are of the rarer class, and 10"]),
        (150, [], ["not measured: 0 labels, and 100 are needed"]),
    ],
)
def test_too_few_labels_and_one_class_are_said(
    store: Storage, rows: int, labels: list[str], said: list[str]
) -> None:
    served(store, DAY, rows)
    if labels:
        tell(store, AFTER, ids(DAY, rows), labels)
    ((found,), _) = read(store)
    record = judged(found, SPEC)
    assert record["measured"] is record["error"] is None
    assert (record["estimated"] is None) == (rows == 1)
    for line, expected in zip(record["said"], said, strict=True):
        assert line.startswith(expected)


def test_a_label_a_year_late_restates_its_day_and_no_other(store: Storage) -> None:
    late = "2027-01-20"
    for day in (DAY, "2026-01-07", late):
        served(store, day, 5)
    before = inputs(store)
    tell(store, late, [ids(DAY, 1)[0], "f" * 32], ["1", "0"])
    record = looked_up(store, late)
    assert (record["labels"], record["unknown"]) == (2, 1)
    assert record["days"].keys() == {DAY}  # type: ignore[attr-defined]
    after = inputs(store)
    assert [day for day in after if after[day] != before[day]] == [DAY]
    # Others that come on the same day are about other answers.
    tell(store, late, ids("2026-01-07", 1), ["1"], name="worker-2")
    looked_up(store, late)
    assert [day for day in after if inputs(store)[day] != after[day]] == ["2026-01-07"]
    # An answer that comes after its label: the day of the label is looked into again.
    assert told.files(store, CASE, "2026-01-07") == [f"{CASE}/feedback/day={late}"]


def test_broken_files_are_named_and_the_others_are_read(store: Storage) -> None:
    frame = served(store, DAY, 120)
    tell(store, AFTER, frame["prediction_id"].to_list(), outcomes(frame))
    for kind, day in (("served", DAY), ("feedback", AFTER)):
        folder = store.local(f"{CASE}/{kind}/day={day}")
        whole = (folder / "worker-1.parquet").read_bytes()
        (folder / "worker-2.parquet").write_bytes(whole[: len(whole) // 2])
        (folder / "worker-3.parquet").write_bytes(b"")
    record = looked_up(store, AFTER)
    assert record["days"][DAY]["labels"] == 120  # type: ignore[index]
    assert record["unread"].keys() == {"worker-2.parquet", "worker-3.parquet"}  # type: ignore[attr-defined]
    (found,), said = read(store)
    assert judged(found, SPEC)["labelled"] == 120
    assert said[0].startswith("2 files cannot be read: worker-2.parquet (")
    assert said[1].startswith(f"labels of day={AFTER}: 2 files cannot be read: ")


def test_a_file_of_other_types_is_named_and_the_others_are_read(store: Storage) -> None:
    good = served(store, DAY)
    odd = good.with_columns(threshold=pl.lit("abc"), prediction_id=pl.lit("e" * 32))
    write(store, "served", DAY, "worker-2", odd)
    (found,), said = read(store)
    assert len(found.probability) == good.height
    assert said[0].startswith("1 files cannot be read: worker-2.parquet (Conversion Error")


def test_an_answer_in_two_files_counts_once(store: Storage) -> None:
    served(store, DAY, 5)
    served(store, DAY, 5, name="worker-2")
    (found,), _ = read(store)
    assert len(found.probability) == 5


def test_a_day_without_a_readable_file_has_no_answers(store: Storage, tmp_path: Path) -> None:
    file = tmp_path / CASE / "served" / f"day={DAY}" / "worker-1.parquet"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"PAR1 and no more")
    with answers.day(file.parent, []) as found:
        found.keep_ids(tmp_path / "ids.parquet")
        assert list(found.answers("0", ["sex"])) == []
    assert found.said[0].startswith("1 files cannot be read: worker-1.parquet (")
