"""A version passes steps beside the champion, or is taken back: the real app, under load."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mlops_assets.demo.progress import Progress
from mlops_assets.lib.comparison import budget
from mlops_assets.lib.records.desired_state import OvertakenError, TakenBackError
from mlops_assets.rollout.control import control
from mlops_assets.rollout.rollback import decide_rollback
from tests.rollout.small import Small
from tests.serving.bundles import USE_CASE
from tests.serving.server import wait_until

RATE = 150.0
SECONDS = 2.0
# The machine that tests is busy: a version is slow where it is five times as slow as the other.
RULES = {
    "timeout_seconds": 15,
    "steps": [
        {"shadow": 100, "minutes": SECONDS / 60},
        {"canary": 10, "minutes": SECONDS / 60},
        {"canary": 50, "minutes": SECONDS / 60},
    ],
    "analysis": {
        "minimum_rows": 20,
        "latency_ratio": 5,
        "latency_floor_seconds": 0.02,
        "retries": 3,
    },
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    """Version 1 is the champion and serves."""
    small = Small(tmp_path_factory.mktemp("steps"), RULES)
    small.crowned()
    with small.serving():
        yield small


@pytest.mark.parametrize(
    ("fault", "said"), [("errors", "error rate"), ("scores", "shift of the scores|disagreement")]
)
def test_a_faulty_version_is_taken_back(
    made: Small, fault: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    number = len(made.built) + 1
    shown = Progress(made.store, made.spec)
    move = made.ledger.append("approved", made.version(number, fault))
    with made.loaded(RATE, 6.0, "1", str(number)) as report:
        with pytest.raises(TakenBackError, match=said):
            made.rollout().carry_out(move, "test")
        found = report()
    assert made.roles() == {"champion": "1"}
    wait_until(lambda: set(made.target.model(USE_CASE)["roles"]) == {"champion"}, "the old state")
    assert (found.errors, found.wrong) == ({}, 0), found.examples
    last = made.ledger.verify()[-1]
    assert (last["decision"], last["final"], last["outcome"]) == ("aborted", True, "failed")
    # Who reads the ledger for contests finds none here: the gate, and the demo.
    assert budget.look(made.ledger.entries(), "a" * 64, "b" * 64, 100, 0.5) == 1
    shown.tell()
    assert "was taken back" in capsys.readouterr().out
    # It is not tried again by itself.
    assert made.mlflow.champion(USE_CASE) == "1"
    progress = made.rollout().rollouts.progress(move)
    assert progress["ended"] in last["reasons"][0]


@pytest.mark.parametrize("stop", ["abort", "rollback"])
def test_a_person_stops_a_rollout_that_is_held(made: Small, stop: str) -> None:
    move = made.ledger.append("approved", made.version(len(made.built) + 1))
    ended: list[Exception] = []

    def carry_out() -> None:
        try:
            made.rollout().carry_out(move, "run")
        except (TakenBackError, OvertakenError) as error:
            ended.append(error)

    run = threading.Thread(target=carry_out)
    run.start()
    wait_until(lambda: made.roles().get("shadow") == move["version"], "the first step")
    about = (made.spec, made.store, made.ledger, made.target)
    said = control(*about, "pause", actor="ann", reason="lunch")
    assert said == f"the rollout of version {move['version']} waits"
    if stop == "abort":
        control(*about, "abort", actor="ann", reason="looks odd")
    else:
        back = decide_rollback(made.store, made.ledger, to=None, actor="ann", reason="alarms")
        made.rollout().carry_out(back, "ann")
    assert made.roles() == {"champion": "1"}
    run.join(30)
    assert not run.is_alive()
    assert made.roles() == {"champion": "1"}
    assert made.mlflow.champion(USE_CASE) == "1"
    (error,) = ended
    if stop == "rollback":
        assert isinstance(error, OvertakenError)
        return
    assert isinstance(error, TakenBackError)
    assert "aborted by ann: looks odd" in str(error)
    assert [entry["decision"] for entry in made.ledger.verify()][-2:] == ["rolling_out", "aborted"]
    with pytest.raises(ValueError, match="no rollout of heart_disease is under way in dev"):
        control(*about, "promote", actor="ann", reason="now")


def test_a_good_version_passes_and_no_request_fails(made: Small) -> None:
    number = len(made.built) + 1
    move = made.ledger.append("approved", made.version(number))
    judged: list[dict[str, Any]] = []
    with made.loaded(RATE, 12.0, "1", str(number)) as report:
        made.rollout().carry_out(move, "test", judged=judged.append)
        found = report()
    assert (found.errors, found.wrong) == ({}, 0), found.examples
    assert set(found.versions) == {"1", str(number)}
    assert [step["judged"]["verdict"] for step in judged] == ["successful"] * 3
    assert made.roles() == {"champion": str(number)}
    assert made.mlflow.champion(USE_CASE) == str(number)
    last = made.ledger.verify()[-1]
    assert last["decision"] == "promoted"
    assert [step["verdict"] for step in last["steps"]] == ["successful"] * 3
