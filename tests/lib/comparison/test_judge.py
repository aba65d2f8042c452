"""Real versions are compared on honest scores only, and what stands in the way is said."""

import shutil
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.lib.comparison.judge import Judged, judge
from mlops_assets.lib.comparison.promoting import promotion
from mlops_assets.lib.comparison.rows import Files, JointRows, NoComparisonError, joint_rows
from mlops_assets.lib.comparison.verdict import Verdict
from mlops_assets.lib.spec.gate import Comparison
from mlops_assets.lib.storage.root import Storage
from serving.bundle.loaded import Bundle
from tests.lib.comparison.conftest import Contest
from tests.lib.comparison.versions import Version, batch, register, spec
from tests.lib.helpers import TINY

NOW = datetime.fromisoformat("2026-02-01T00:00:00+00:00")


def files_of(contest: Contest, **changes: Any) -> Files:
    folder = contest.store.local(
        f"{TINY}/training_sets/{contest.challenger.lineage['training_set']}"
    )
    files = Files(
        folder / "rows.parquet",
        folder / "inputs.parquet",
        contest.challenger.predictions(contest.store),
        contest.champion.predictions(contest.store),
        frozenset({"one"}),
    )
    return replace(files, **changes)


def bundle_of(contest: Contest, version: Version) -> Bundle:
    return Bundle.load(contest.store.local(version.path), version.digest, TINY)


@pytest.fixture(scope="module")
def champion(contest: Contest) -> Bundle:
    return bundle_of(contest, contest.champion)


@pytest.fixture(scope="module")
def joint(contest: Contest, champion: Bundle) -> JointRows:
    return joint_rows(files_of(contest), champion)


@pytest.fixture
def mine(contest: Contest, tmp_path: Path) -> Contest:
    """The contest in a store of its own."""
    shutil.copytree(contest.store.root, tmp_path / "root")
    return replace(contest, store=Storage(tmp_path / "root"))


def decide(contest: Contest, entries: Any = (), **changes: Any) -> Judged:
    crowned = contest.champion.entry("promoted")
    given = {"champion": crowned, "entries": [crowned, *entries], "now": NOW, **changes}
    challenger = given.pop("challenger", contest.challenger)
    gate = given.pop("gate", {})
    return judge(contest.store, spec(**gate), challenger.digest, challenger.lineage, **given)


def test_every_row_has_the_honest_score_of_both(
    contest: Contest, champion: Bundle, joint: JointRows
) -> None:
    files = files_of(contest)
    rows, inputs = pl.read_parquet(files.rows), pl.read_parquet(files.inputs)
    mine = pl.read_parquet(files.challenger)
    assert files.champion is not None
    theirs = {row["row_id"]: row for row in pl.read_parquet(files.champion).to_dicts()}
    answers = champion.predict_table(inputs.to_arrow())
    expected = []
    for number, row_id in enumerate(rows["row_id"]):
        own = theirs.get(row_id)
        if own is None:
            assert row_id.startswith("two")
            expected.append(answers[number])
        else:
            expected.append(own["out_of_fold" if own["side"] == "train" else "probability"])
    assert np.abs(joint.champion - expected).max() <= 1e-6
    out_of_fold = np.where(rows["side"] == "train", mine["out_of_fold"], mine["probability"])
    assert (joint.challenger == out_of_fold).all()
    assert (joint.target == rows["target"].to_numpy()).all()
    assert (joint.test == (rows["side"] == "test").to_numpy()).all()
    assert (joint.never_seen == (rows["batch"] == "two").to_numpy()).all()
    trained_on = ~joint.test & (rows["batch"] == "one").to_numpy()
    assert (joint.trained_on == trained_on).all()
    assert joint.left_out == {}
    # It would flatter the champion to be asked about the rows that it was trained on.
    assert np.abs(joint.champion - answers)[trained_on].max() > 0.01


def test_a_row_that_was_trained_on_and_is_a_test_row_now_has_its_out_of_fold_score(
    contest: Contest, champion: Bundle, tmp_path: Path
) -> None:
    files = files_of(contest)
    for name, path in (("rows", files.rows), ("mine", files.challenger)):
        table = pl.read_parquet(path).with_columns(
            side=pl.when(pl.col("row_id").str.starts_with("one"))
            .then(pl.lit("test"))
            .otherwise("side")
        )
        table.write_parquet(tmp_path / f"{name}.parquet")
    moved = replace(files, rows=tmp_path / "rows.parquet", challenger=tmp_path / "mine.parquet")
    found = joint_rows(moved, champion)
    usual = joint_rows(files, champion)
    assert found.test.sum() > usual.test.sum()
    assert (found.champion == usual.champion).all()


def test_rows_without_an_honest_score_are_counted(
    contest: Contest, champion: Bundle, tmp_path: Path
) -> None:
    files = files_of(contest)
    for name, path, count in (("mine", files.challenger, 7), ("theirs", files.champion, 9)):
        assert path is not None
        table = pl.read_parquet(path).with_row_index()
        # As the oldest rows are, where folds go forward in time.
        oldest = pl.col("index").rank().over("side") <= count
        nothing = pl.when(oldest).then(float("nan")).otherwise("out_of_fold")
        table.with_columns(out_of_fold=nothing).write_parquet(tmp_path / f"{name}.parquet")
    cut = replace(files, challenger=tmp_path / "mine.parquet", champion=tmp_path / "theirs.parquet")
    found = joint_rows(cut, champion)
    assert found.left_out == {
        "no fold scored the row for the challenger": 7,
        "no fold scored the row for the champion": 9,
    }
    assert 700 - 16 <= found.judged.sum() <= 700 - 9


def test_without_the_champions_scores_only_what_it_never_saw_is_left(
    contest: Contest, champion: Bundle, joint: JointRows
) -> None:
    found = joint_rows(files_of(contest, champion=None), champion)
    assert found.left_out == {"the champion's own scores are gone": 400}
    assert (found.judged == joint.never_seen).all()
    same = found.judged
    assert (found.champion[same] == joint.champion[same]).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (pl.col("dose").cast(pl.String), "reads dose as DOUBLE, which is VARCHAR now"),
        (None, "reads dose as DOUBLE, which is gone"),
    ],
)
def test_inputs_that_the_champion_cannot_read_are_no_comparison(
    contest: Contest, champion: Bundle, tmp_path: Path, change: pl.Expr | None, said: str
) -> None:
    inputs = pl.read_parquet(files_of(contest).inputs)
    changed = inputs.drop("dose") if change is None else inputs.with_columns(change)
    changed.write_parquet(tmp_path / "inputs.parquet")
    with pytest.raises(NoComparisonError, match=said):
        joint_rows(files_of(contest, inputs=tmp_path / "inputs.parquet"), champion)


def test_a_row_that_the_champion_cannot_compute_is_no_comparison(
    contest: Contest, champion: Bundle, tmp_path: Path
) -> None:
    inputs = pl.read_parquet(files_of(contest).inputs).with_columns(dose=pl.lit(1e300))
    inputs.write_parquet(tmp_path / "inputs.parquet")
    with pytest.raises(NoComparisonError, match="cannot compute a new row"):
        joint_rows(files_of(contest, inputs=tmp_path / "inputs.parquet"), champion)


def test_a_challenger_is_judged(contest: Contest) -> None:
    found = decide(contest).verdict
    assert found.rows == 700
    assert found.look == 1
    assert found.level == pytest.approx(0.025)
    assert found.difference is not None
    assert found.difference.low < found.difference.estimate < found.difference.high
    again = decide(contest, [{"decision": "rejected", "verdict": found.as_dict()}]).verdict
    assert again == found
    other = found.as_dict() | {"challenger": "another"}
    second = decide(contest, [{"decision": "rejected", "verdict": other}]).verdict
    assert second.look == 2
    assert second.level == pytest.approx(0.05 / 6)


def test_the_first_version_is_promoted(contest: Contest) -> None:
    found = decide(contest, champion=None)
    assert (found.verdict.outcome, found.promotion.promotes) == ("first", True)


def test_the_champion_itself_is_told(contest: Contest) -> None:
    found = decide(contest, challenger=contest.champion)
    assert (found.verdict.outcome, found.promotion.promotes) == ("equivalent", False)
    assert "it is the champion" in found.verdict.said


def test_a_champion_that_was_changed_is_no_comparison(mine: Contest) -> None:
    model = mine.store.local(mine.champion.path) / "model.onnx"
    model.write_bytes(model.read_bytes() + b" ")
    found = decide(mine)
    assert (found.verdict.outcome, found.promotion.promotes) == ("inconclusive", False)
    assert "model.onnx" in found.verdict.said


@pytest.mark.parametrize("whose", ["champion", "challenger"])
def test_scores_that_were_changed_promote_nothing(mine: Contest, whose: str) -> None:
    path = getattr(mine, whose).predictions(mine.store)
    scores = pl.read_parquet(path)
    scores.with_columns(out_of_fold=1 - pl.col("out_of_fold")).write_parquet(path)
    found = decide(mine)
    assert (found.verdict.outcome, found.promotion.promotes) == ("inconclusive", False)
    assert "predictions.parquet is gone or has changed" in found.verdict.said


def test_a_record_that_was_changed_promotes_nothing(mine: Contest) -> None:
    key = f"{TINY}/records/{mine.challenger.lineage['candidate']}.json"
    record = mine.store.read_json(key) or {}
    mine.store.write_json(key, record | {"files": {}})
    found = decide(mine)
    assert (found.verdict.outcome, found.promotion.promotes) == ("inconclusive", False)
    assert "is not the record" in found.verdict.said


@pytest.mark.parametrize(
    "gone", ["bundles", "candidates", "evaluations", "training_sets", "records"]
)
def test_what_is_gone_promotes_nothing(mine: Contest, gone: str) -> None:
    shutil.rmtree(mine.store.local(f"{TINY}/{gone}"))
    found = decide(mine)
    assert (found.verdict.outcome, found.promotion.promotes) == ("inconclusive", False)
    assert found.verdict.look is None


def test_the_same_model_once_more_is_a_tie(contest: Contest, tmp_path: Path) -> None:
    store = Storage(tmp_path / "root")
    source = batch(tmp_path, "one", 400, 1)
    twin = replace(contest, store=store, champion=register(store, [source]))
    again = replace(twin.champion, digest="0" * 64)
    found = decide(twin, challenger=again, gate={"promote": ["better", "equivalent"]})
    assert (found.verdict.outcome, found.verdict.answers_alike) == ("equivalent", True)
    assert not found.promotion.promotes
    assert found.promotion.why.startswith("a tie")


@dataclass
class Shifted:
    """An answer that remembers whether it was asked for."""

    found: str | None = None
    was_asked: bool = False

    def __call__(self) -> str | None:
        self.was_asked = True
        return self.found


def said_of(outcome: Any, age: float, shifted: Shifted, **terms: Any) -> tuple[bool, str]:
    verdict = Verdict(outcome, "said", "b", "a")
    found = promotion(verdict, Comparison.model_validate(terms), age, shifted)
    return found.promotes, found.why


def test_by_default_only_better_promotes() -> None:
    shifted = Shifted()
    for outcome in ("better", "first"):
        assert said_of(outcome, 1, shifted)[0]
    for outcome in ("worse", "inconclusive"):
        assert not said_of(outcome, 1000, shifted)[0]
    assert not shifted.was_asked
    assert not said_of("better", 1, shifted, promote=[])[0]


def test_an_equivalent_version_replaces_an_old_champion_or_one_of_other_rows() -> None:
    assert not said_of("equivalent", 90, Shifted())[0]
    promotes, why = said_of("equivalent", 91, Shifted())
    assert promotes
    assert "since 91 days, the limit is 90" in why
    promotes, why = said_of("equivalent", 1, Shifted("age shifted by 0.31"))
    assert promotes
    assert "the rows have drifted" in why
    assert "age shifted by 0.31" in why
    never = {"champion_older_than_days": None, "drifted": False}
    shifted = Shifted("age shifted by 0.31")
    assert not said_of("equivalent", 1000, shifted, equivalent_when=never)[0]
    assert not shifted.was_asked
    assert said_of("equivalent", 1, Shifted(), promote=["equivalent"])[0]


@given(st.sampled_from(["worse", "inconclusive"]), st.floats(0, 1e4), st.booleans())
def test_nothing_in_a_spec_promotes_what_is_worse_or_unknown(
    outcome: str, age: float, old: bool
) -> None:
    when = {"champion_older_than_days": 1 if old else None, "drifted": True}
    given = {"promote": ["better", "equivalent"], "equivalent_when": when}
    assert not said_of(outcome, age, Shifted("age shifted by 9"), **given)[0]
