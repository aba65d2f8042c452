"""A person leaves the prediction log as well, on disk and in a bucket, whatever is killed."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from mlops_assets.lib.personal_data import erasure
from mlops_assets.lib.personal_data.pseudonyms import KEY_VARIABLE, pseudonym
from mlops_assets.lib.records import prediction_log
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.local_place import LocalPlace
from mlops_assets.lib.storage.root import Storage
from mlops_assets.operations.erase.command import NobodyError, erase
from serving.prediction_log.log import PredictionLog
from serving.settings import Settings
from tests.benchmarks.prediction_log import FEATURES, INPUTS
from tests.serving.logged import NOON, STREAM

KEY = "sixteen characters and more"
WHO, OTHER = "Ann-7", "Bob-8"
DAY = 86_400.0


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)


@pytest.fixture(params=["disk", "bucket"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A storage root in which nothing is."""
    if request.param == "bucket":
        return str(request.getfixturevalue("s3_root"))
    return str(tmp_path / "storage")


def people(pii: str | None, kind: str) -> UseCase:
    """A use case about entities whose id is of a type."""
    who = {"name": "who", "type": kind, "description": "D.", **({"pii": pii} if pii else {})}
    contract = {
        "version": 1,
        "target": {"column": "outcome"},
        "columns": [who, {"name": "age", "type": "integer", "description": "D."}],
        "entity": "who",
    }
    return UseCase.model_validate(
        {"name": "people", "title": "People.", "description": "People.", "owners": ["team:one"]}
        | {"contract": contract, "training": {"candidates": {"logistic_regression": {}}}}
    )


class Worker:
    """What a worker of the serving app has logged when the block ends."""

    def __init__(self, root: str, spool: Path) -> None:
        if "://" not in root:
            # A desired state is there before anything is answered; an empty root is taken for down.
            (Path(root) / "people" / "desired").mkdir(parents=True, exist_ok=True)
        settings = Settings(use_cases=("people",), storage_root=root, log_spool=str(spool))
        self.log = PredictionLog(settings)

    def __enter__(self) -> "Worker":
        self.log.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.log.stop()

    def answers(
        self,
        by_id: dict[str, str | None],
        time: float = NOON,
        role: str = "champion",
        pii: str | None = None,
    ) -> None:
        """Log an answer of each id about an entity."""
        n, ids = len(by_id), list(by_id)
        who = msgspec.structs.replace(STREAM, use_case="people", role=role, entity_pii=pii)
        features = np.full((n, FEATURES), 0.1, np.float32)
        self.log.append(
            who, time, ids, ids, [INPUTS] * n, features, np.full(n, 0.7), list(by_id.values())
        )

    def labels(self, ids: Sequence[str], time: float) -> None:
        """Log what turned out to be true of predictions."""
        for prediction in ids:
            self.log.feedback("people", prediction, 1, time, "request", observed_at=None)


def rows(store: Storage) -> dict[str, list[dict[str, Any]]]:
    """The rows of each file of the prediction log."""
    found = {}
    for kind in prediction_log.KINDS:
        for key in prediction_log.files(store, "people", kind):
            with store.open(key) as content:
                found[key] = pl.read_parquet(content).to_dicts()
    return found


def served(root: str, tmp_path: Path) -> Storage:
    """Two people in several files, days and roles; one of the roles does not say who it is."""
    with Worker(root, tmp_path / "spool") as first:
        first.answers({"p1": WHO, "p2": OTHER, "p3": None}, pii="hash")
        first.answers({"p1": WHO, "p2": OTHER}, NOON + 1, "shadow", pii="drop")
        first.answers({"p4": f" {WHO} "}, NOON + DAY)
        first.labels(["p1", "p2"], NOON + 2 * DAY)
        first.labels(["p4"], NOON + 3 * DAY)
    return Storage(root)


def erased(store: Storage, agreed: UseCase, who: str = WHO) -> str:
    return "\n".join(erase(store, agreed, None, who, actor="ann", reason="asked on paper 12"))


def test_somebody_who_was_only_served_leaves_the_log(root: str, tmp_path: Path) -> None:
    store, agreed = served(root, tmp_path), people("hash", "text")
    before = rows(store)
    said = erased(store, agreed)
    assert "prediction log of 2026-01-31: 2 rows of this entity removed" in said
    assert "prediction log of 2026-02-01: 1 rows of this entity removed" in said
    assert "feedback of 2026-02-02: 1 rows about these predictions removed" in said
    assert "feedback of 2026-02-03: 1 rows about these predictions removed" in said
    assert "run the command again after a minute" in said
    after = rows(store)
    # What others have stays bit by bit, in the files of before.
    others = {
        key: [row for row in there if row["prediction_id"] in ("p2", "p3")]
        for key, there in before.items()
    }
    assert after == {key: there for key, there in others.items() if there}
    assert len(after) == 3
    assert {WHO, pseudonym(WHO, KEY)}.isdisjoint(str(after).split("'"))
    (entry,) = erasure.tombstones(store, "people")
    assert (entry["rows"], entry["predictions"]) == ({}, 3)

    # What the app goes on logging is found by the next run, and no entry is made of it.
    with Worker(root, tmp_path / "spool") as later:
        later.answers({"p5": WHO}, NOON, pii="hash")
        later.labels(["p5"], NOON)
    assert "prediction log of 2026-01-31: 1 rows of this entity removed" in erased(store, agreed)
    assert rows(store) == after
    assert "removed" not in erased(store, agreed)
    assert len(erasure.tombstones(store, "people")) == 1


def test_a_kill_anywhere_leaves_what_tells_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, agreed = served(str(tmp_path / "storage"), tmp_path), people("hash", "text")
    steps: list[str] = []
    changing = {name: getattr(LocalPlace, name) for name in ("remove", "writing", "create")}

    def watched(name: str, last: int | None) -> Any:
        def step(self: LocalPlace, *arguments: Any) -> Any:
            if last is not None and len(steps) >= last:
                raise KeyboardInterrupt
            steps.append(name)
            return changing[name](self, *arguments)

        return step

    def until(last: int | None, root: Storage) -> None:
        steps.clear()
        with monkeypatch.context() as patch:
            for name in changing:
                patch.setattr(LocalPlace, name, watched(name, last))
            erased(root, agreed)

    whole = Storage(tmp_path / "whole")
    shutil.copytree(store.root, whole.root)
    until(None, whole)
    left, count = rows(whole), len(steps)
    assert steps.count("writing") == 3
    for last in range(count):
        again = Storage(tmp_path / str(last))
        shutil.copytree(store.root, again.root)
        with pytest.raises(KeyboardInterrupt):
            until(last, again)
        erased(again, agreed)
        assert rows(again) == left
        assert len(erasure.tombstones(again, "people")) == 1


def test_numbers_are_told_however_they_are_written(tmp_path: Path) -> None:
    root, agreed = str(tmp_path / "storage"), people(None, "integer")
    with Worker(root, tmp_path / "spool") as worker:
        worker.answers({"a": "7", "b": " 007", "c": "7.0", "d": "70", "e": "x7", "f": None})
    store = Storage(root)
    with pytest.raises(NobodyError, match="nor has the prediction log"):
        erased(store, agreed, "8")
    assert erasure.tombstones(store, "people") == []
    assert "2026-01-31: 3 rows" in erased(store, agreed, "7")
    (left,) = rows(store).values()
    assert [row["prediction_id"] for row in left] == ["d", "e", "f"]


def test_what_cannot_be_read_is_named_and_what_was_left_half_written_goes(tmp_path: Path) -> None:
    store, agreed = served(str(tmp_path / "storage"), tmp_path), people("hash", "text")
    torn = store.local("people/served/day=2026-01-31/torn-000001.parquet")
    torn.write_bytes(b"PAR1 and no more")
    half = torn.with_name(".partial-worker-000001.parquet")
    young = torn.with_name(".partial-worker-000002.parquet")
    for path in (half, young):
        path.write_text("half")
    os.utime(half, (NOON, NOON))
    said = erased(store, agreed)
    assert "cannot be read, so not looked through: people/served/day=2026-01-31/torn-" in said
    assert "2026-01-31: 2 rows" in said
    assert (torn.exists(), half.exists(), young.exists()) == (True, False, True)
