"""A person leaves every batch for good, whatever is killed, and what was made of them is named."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.test_utils import create_run_for_test

from mlops_assets.lib.personal_data import erasure
from mlops_assets.lib.personal_data.key_proof import OtherKeyError
from mlops_assets.lib.personal_data.pseudonyms import KEY_VARIABLE, pseudonym
from mlops_assets.lib.records import current
from mlops_assets.lib.records.batches import Batches
from mlops_assets.lib.spec.specs import load_spec
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.lib.synthetic.churn import ChurnOptions
from mlops_assets.lib.synthetic.writing import write
from mlops_assets.operations.doctor.use_cases import key_of
from mlops_assets.operations.erase.command import NobodyError, erase
from mlops_assets.operations.prune import BusyError
from mlops_assets.operations.rebuild import RebuildError, rebuild
from mlops_assets.resources import StorageRoot
from mlops_assets.stages import raw, validated
from tests.platform import QUICK, Platform, checks, platform
from tests.test_cli import mlops

KEY = "sixteen characters and more"
WHO, OTHER = "Ann-7", "Bob-8"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)


def spec() -> UseCase:
    """Churn with hashed customers, and a training of seconds."""
    agreed = load_spec("churn").model_dump(mode="json", exclude_unset=True)
    agreed["contract"]["columns"][0] |= {"pii": "hash"}
    plan = {**QUICK, "minimum_positives": 10, "candidates": {"logistic_regression": {}}}
    gate = {"floors": {"roc_auc": 0.5}, "calibration_error": 1}
    return UseCase.model_validate(agreed | {"training": plan, "gate": gate})


def batch(folder: Path, seed: int, theirs: dict[int, str]) -> str:
    """Customers as CSV; the rows of these numbers are of somebody we know."""
    file = folder / f"{seed}.csv"
    write(ChurnOptions(rows=400, seed=seed), file)
    header, *lines = file.read_text().splitlines()
    for row, name in theirs.items():
        cells = lines[row - 1].split(",")
        # The last one breaks the contract: that row goes to quarantine.
        age = "500" if row == max(theirs) else cells[4]
        lines[row - 1] = ",".join([name, *cells[1:4], age, *cells[5:]])
    return "\n".join([header, *lines, ""])


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A version that was made of two people among others, and a batch of them after it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, KEY)
        home = tmp_path_factory.mktemp("lived")
        with platform(home, spec=spec()) as made:
            text = batch(home, 1, {3: WHO, 9: OTHER, 20: WHO})
            assert made.ingest(made.land(text, "batch1.csv")).success
            assert made.run("retrain").success
            second = made.land(batch(home, 2, {5: WHO, 6: OTHER}), "batch2.csv")
            assert made.materialize("raw", partition_key=second).success
            shutil.copytree(home / "storage", home / "before")
            yield made


@pytest.fixture
def copied(lived: Platform, tmp_path: Path) -> tuple[Storage, UseCase]:
    """The storage as it was before anybody was erased."""
    shutil.copytree(lived.home / "before", tmp_path / "storage")
    return Storage(tmp_path / "storage"), lived.spec


def erased(store: Storage, agreed: UseCase, who: str = WHO, **options: Any) -> str:
    lines = erase(store, agreed, None, who, actor="ann", reason="asked on paper 12", **options)
    return "\n".join(lines)


def holding(root: Path, who: str) -> list[str]:
    """Files under a folder that hold an id, or its pseudonym."""
    texts = (who, pseudonym(who, KEY))
    found = []
    for path in root.rglob("*"):
        if path.is_file():
            is_table = path.suffix == ".parquet"
            held = str(pl.read_parquet(path).to_dicts()) if is_table else path.read_text("latin-1")
            found += [str(path) for text in texts if text in held]
    return found


def made_of(store: Storage) -> list[str]:
    """Keys of all that has rows, but for bundles."""
    kinds = ("raw", "validated", "quarantine", "features", "training_sets", "candidates")
    return [f"{kind}/{name}" for kind in kinds for name in store.list(f"churn/{kind}")]


def test_somebody_leaves_and_the_others_stay_as_they_were(lived: Platform) -> None:
    before = pl.read_parquet(
        lived.store.local(f"churn/training_sets/{newest(lived, 'training_set')}/rows.parquet")
    )
    assert holding(lived.home / "storage", WHO)
    said = erased(lived.store, lived.spec)
    assert "nothing of them is left in batches, training sets and candidates" in said
    assert ": 2 rows of this entity" in said
    assert "version 1 (bundle " in said
    assert "was trained on rows of them" in said
    assert not holding(lived.home / "storage", WHO)
    assert lived.store.list("churn/training_sets") == []

    version = newest(lived, "registered_version")
    with pytest.raises(RebuildError, match=r"2 rows of batch batch1-.* were erased on 20"):
        rebuild(lived.store, "churn", version, lived.home / "no", print)

    # What was trained on them before is no longer let through.
    passed, why = checks(lived.materialize("promotion"))["promotion/gate"]
    assert not passed
    assert "were erased (entry" in why

    # The landing sensor asks for both again as new work, and the retrain sensor trains without.
    requests = lived.tick("landing").run_requests or []
    assert [str(request.tags["mlops/subject"])[-2:] for request in requests] == ["/1", "/1"]
    first = requests[0]
    assert lived.run("ingest", partition_key=first.partition_key, tags=first.tags).success
    assert len(lived.tick("landing").run_requests or []) == 1
    assert len(lived.tick("retrain").run_requests or []) == 1
    assert lived.materialize("training_set").success
    after = pl.read_parquet(
        lived.store.local(f"churn/training_sets/{newest(lived, 'training_set')}/rows.parquet")
    )
    gone = before.join(after, on="row_id", how="anti")["row_id"].to_list()
    assert sorted(row.rsplit("-", 1)[-1] for row in gone) == ["3"]
    kept = before.filter(~pl.col("row_id").is_in(gone)).sort("row_id")
    assert kept.equals(after.sort("row_id"))
    assert not holding(lived.home / "storage", WHO)
    assert holding(lived.home / "storage", OTHER)

    # Once more nothing is written, and a later batch comes without them.
    entries = len(lived.ledger.verify())
    assert "nothing of them is left" in erased(lived.store, lived.spec)
    assert len(lived.ledger.verify()) == entries
    later = lived.land(batch(lived.home, 3, {4: WHO, 8: OTHER}), "later.csv")
    result = lived.materialize("raw", partition_key=later)
    assert "1 of erased entities are left out" in checks(result)["raw/not_empty"][1]
    assert not holding(lived.home / "storage", WHO)


def newest(made: Platform, stage: str) -> str:
    record = current.read(made.store, "churn", stage)
    assert record is not None
    return str(record["digest"])


def test_a_kill_anywhere_is_made_good(
    copied: tuple[Storage, UseCase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, agreed = copied
    steps: list[str] = []
    writing = {name: getattr(Storage, name) for name in ("remove", "write_json", "publish")}

    def watched(name: str, last: int | None) -> Any:
        def step(self: Storage, *arguments: Any) -> Any:
            if last is not None and len(steps) >= last:
                raise KeyboardInterrupt
            steps.append(name)
            return writing[name](self, *arguments)

        return step

    def until(last: int | None, root: Storage) -> None:
        steps.clear()
        with monkeypatch.context() as patch:
            for name in writing:
                patch.setattr(Storage, name, watched(name, last))
            erased(root, agreed)

    whole = Storage(tmp_path / "whole")
    shutil.copytree(store.root, whole.root)
    until(None, whole)
    there, count = made_of(whole), len(steps)
    assert count > 10
    for last in range(count):
        again = Storage(tmp_path / str(last))
        shutil.copytree(store.root, again.root)
        with pytest.raises(KeyboardInterrupt):
            until(last, again)
        assert len(erasure.tombstones(again, "churn")) == 1
        assert "nothing of them is left" in erased(again, agreed)
        assert made_of(again) == there
        assert not holding(Path(again.root), WHO)
        assert len(erasure.tombstones(again, "churn")) == 1
        shutil.rmtree(again.root)


def test_the_ledger_does_not_say_who(copied: tuple[Storage, UseCase], tmp_path: Path) -> None:
    store, agreed = copied
    with pytest.raises(ValueError, match="the reason names the entity"):
        list(erase(store, agreed, None, WHO, actor="ann", reason=f"{WHO} asked"))
    with pytest.raises(NobodyError, match="no batch has a row of this entity"):
        erased(store, agreed, "Nobody-1")
    assert erasure.tombstones(store, "churn") == []
    assert "nothing of them is left" in erased(store, agreed, "Nobody-1", in_advance=True)
    (entry,) = erasure.tombstones(store, "churn")
    assert entry["rows"] == {}
    assert not {"Nobody-1", pseudonym("Nobody-1", KEY)} & set(entry["entity"])
    shown = mlops(tmp_path, "ledger", "show", "churn").stdout
    assert "erased 0 rows of 0 batches by ann: asked on paper 12" in shown
    store.remove("churn/erasure")
    with pytest.raises(ValueError, match=r"salt\.json is gone"):
        erasure.everybody(store, "churn", agreed.contract)


def test_runs_at_work_are_waited_for(copied: tuple[Storage, UseCase]) -> None:
    store, agreed = copied
    with dg.DagsterInstance.ephemeral() as instance:
        create_run_for_test(
            instance, status=dg.DagsterRunStatus.STARTED, tags={"mlops/use_case": "churn"}
        )
        with pytest.raises(BusyError, match="the tombstone is written, but 1 runs are queued"):
            list(erase(store, agreed, instance, WHO, actor="ann", reason="asked"))
    assert len(erasure.tombstones(store, "churn")) == 1
    assert "nothing of them is left" in erased(store, agreed)


def test_a_contract_without_an_entity_is_refused(tmp_path: Path) -> None:
    done = mlops(tmp_path, "erase", "heart_disease", "--entity", "7", "--reason", "asked")
    assert done.returncode == 1
    assert "its contract has no `entity`" in done.stderr


PEOPLE = "who,age,outcome\n7,63,1\n8,64,0\n7.0,65,1\n9,x,0\n007,66,0,more\n70,67,1\n"


def people(tmp_path: Path, instance: dg.DagsterInstance) -> tuple[Storage, UseCase, Any]:
    """A use case without personal data, whose landed files stay; how to ingest one."""
    column = {"type": "integer", "description": "D."}
    contract = {
        "version": 1,
        "target": {"column": "outcome"},
        "columns": [{"name": "who", **column}, {"name": "age", **column}],
        "entity": "who",
    }
    agreed = UseCase.model_validate(
        {"name": "people", "title": "People.", "description": "People.", "owners": ["team:one"]}
        | {"contract": contract, "training": {"candidates": {"logistic_regression": {}}}}
    )
    store = Storage(tmp_path / "storage")
    partitions = dg.DynamicPartitionsDefinition(name="people_batches")
    built = [stage.build(agreed, partitions) for stage in (raw, validated)]

    def ingest(key: str) -> None:
        instance.add_dynamic_partitions("people_batches", [key])
        dg.materialize(
            [asset for each in built for asset in each.assets or []],
            partition_key=key,
            instance=instance,
            resources={"storage": StorageRoot(root=str(store.root))},
            raise_on_error=False,
        )

    return store, agreed, ingest


def test_numbers_malformed_lines_and_landed_files(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        store, agreed, ingest = people(tmp_path, instance)
        known = Batches(store, "people")
        file = tmp_path / "people.csv"
        for text in (PEOPLE, PEOPLE.replace("63", "62")):
            file.write_text(text)
            path = store.local(known.land(file))
            known.look(path.stat().st_mtime + 10)
            new = next(k for k in known.keys() if known.pointer(k, "raw") is None)  # noqa: SIM118
            ingest(new)
            if text is PEOPLE:
                first = new
                assert path.exists()
                said = erased(store, agreed, "7")
                assert f"batch {first}: 2 rows of this entity" in said
                assert "the landed file people.csv held rows of them" in said
                ingest(first)
            assert not path.exists()
            rows = pl.read_parquet(store.local((known.pointer(new, "raw") or {})["file"]))
            assert rows["_row"].to_list() == [2, 4, 5, 6]
            assert rows["_malformed"].drop_nulls().to_list() == [
                "line 6: 4 fields where the header has 3"
            ]
            left = pl.read_parquet(store.local((known.pointer(new, "validated") or {})["file"]))
            assert left["who"].to_list() == [8, 70]


def test_another_key_is_refused_and_the_doctor_tells(
    copied: tuple[Storage, UseCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told() -> tuple[str, str]:
        (finding,) = key_of(*copied)
        return finding.level, finding.said

    assert told() == ("ok", f"{KEY_VARIABLE} is set, and is that of the data")
    monkeypatch.setenv(KEY_VARIABLE, "another key of sixteen characters")
    with pytest.raises(OtherKeyError, match=f"churn: {KEY_VARIABLE} is another key than the one"):
        erased(*copied)
    assert erasure.tombstones(copied[0], "churn") == []
    level, said = told()
    assert level == "fail"
    assert "set the key of before" in said
    monkeypatch.delenv(KEY_VARIABLE)
    assert told()[0] == "fail"
