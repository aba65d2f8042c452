"""The pointers that serving and the stages read: desired state and current records."""

from pathlib import Path

import pytest

from mlops_assets.lib.records import current, desired_state
from mlops_assets.lib.storage.root import Storage
from serving.roles.desired import read_desired
from serving.settings import Settings

ROLE = {"version": "4", "bundle": "tiny/bundles/" + "a" * 64, "digest": "a" * 64, "percent": 100}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def test_nothing_is_desired_before_it_is_written(storage: Storage) -> None:
    assert desired_state.read(storage, "tiny", "dev") == {}


def test_desired_state_is_read_as_written_and_by_environment(storage: Storage) -> None:
    desired_state.write(storage, "tiny", "dev", {"champion": ROLE})
    assert desired_state.read(storage, "tiny", "dev") == {"champion": ROLE}
    assert desired_state.read(storage, "tiny", "prod") == {}
    assert desired_state.read(storage, "other", "dev") == {}
    desired_state.write(storage, "tiny", "dev", {})
    assert desired_state.read(storage, "tiny", "dev") == {}


def test_an_older_decision_does_not_overwrite_a_newer_one(storage: Storage) -> None:
    desired_state.write(storage, "tiny", "dev", {"champion": ROLE}, decision=5)
    with pytest.raises(desired_state.OvertakenError, match="entry 5 of the ledger"):
        desired_state.write(storage, "tiny", "dev", {}, decision=4)
    assert desired_state.read(storage, "tiny", "dev") == {"champion": ROLE}
    desired_state.write(storage, "tiny", "dev", {}, decision=5)
    assert desired_state.read(storage, "tiny", "dev") == {}


def test_a_state_that_no_entry_of_the_ledger_wanted_holds_nobody_up(storage: Storage) -> None:
    desired_state.write(storage, "tiny", "dev", {"champion": ROLE}, decision=40)
    with pytest.raises(desired_state.OvertakenError):
        desired_state.write(storage, "tiny", "dev", {}, decision=4, newest=lambda: 40)
    desired_state.write(storage, "tiny", "dev", {}, decision=4, newest=lambda: 39)
    assert desired_state.read(storage, "tiny", "dev") == {}
    assert desired_state.claimed(storage, "tiny", "dev") == 4


def test_serving_app_finds_and_understands_the_desired_state(storage: Storage) -> None:
    desired_state.write(storage, "tiny", "prod", {"champion": ROLE})
    settings = Settings(use_cases=("tiny",), storage_root=storage.root, environment="prod")
    key = settings.desired_state("tiny")
    assert key == desired_state.key("tiny", "prod")
    state = read_desired(storage.local(key).read_bytes(), key, "tiny", "prod")
    assert state.problems == {}
    role = state.roles["champion"]
    assert (role.version, role.bundle, role.digest) == ("4", ROLE["bundle"], "a" * 64)


def test_current_record_is_the_last_one_written(storage: Storage) -> None:
    assert current.read(storage, "tiny", "candidates/xgboost") is None
    for digest in ("one", "two"):
        current.write(storage, "tiny", "candidates/xgboost", {"digest": digest})
    assert current.read(storage, "tiny", "candidates/xgboost") == {"digest": "two"}
    assert current.read(storage, "tiny", "candidates/logistic_regression") is None
    assert current.read(storage, "other", "candidates/xgboost") is None
