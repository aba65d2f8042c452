"""Putting a former champion back, with the real serving app."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets.lib.bundles.sandbox import free_port
from mlops_assets.lib.records import desired_state
from mlops_assets.lib.records.desired_state import OvertakenError, TakenBackError
from mlops_assets.lib.records.history import awaiting_rollout, champion
from mlops_assets.rollout.rollback import NoWayBackError, decide_rollback
from mlops_assets.rollout.rollout import Rollout
from serving.bundle.manifest import BundleError
from tests.platform import HEART, Platform, impatient_spec, platform, serving
from tests.serving.server import wait_until
from tests.versions import variant


@pytest.fixture
def twice(trained: Platform, tmp_path: Path) -> Iterator[Platform]:
    """Versions 1 and 2 were champion, one after the other; version 2 is."""
    for folder in ("storage", "mlflow"):
        shutil.copytree(trained.home / folder, tmp_path / folder)
    with platform(tmp_path, f"http://127.0.0.1:{free_port()}", spec=impatient_spec()) as made:
        made.ledger.append("promoted", about(made.ledger.entries()[0]) | {"decision_of": 1})
        second = variant(made, "2", 0.4)
        made.ledger.append("approved", second)
        made.ledger.append("promoted", second | {"decision_of": 3})
        desire(made, second)
        made.mlflow.crown(HEART, "2")
        yield made


def about(entry: dict[str, Any]) -> dict[str, Any]:
    names = ("version", "bundle", "path", "training_set", "wanted", "batches", "actor")
    return {name: entry[name] for name in names}


def desire(made: Platform, entry: dict[str, Any]) -> None:
    role = {"version": entry["version"], "bundle": entry["path"], "digest": entry["bundle"]}
    state = {"champion": {**role, "percent": 100}}
    desired_state.write(made.store, HEART, "dev", state, decision=len(made.ledger.entries()))


def rollout(made: Platform) -> Rollout:
    return Rollout(made.spec, made.store, made.ledger, made.mlflow, made.target)


def decide(made: Platform, to: str | None = None) -> dict[str, Any]:
    return decide_rollback(made.store, made.ledger, to=to, actor="ann", reason="too many alarms")


def served(made: Platform) -> tuple[str, str | None, str, str]:
    """The version of the desired state, of the alias, of the ledger and of the app's answers."""
    crowned = champion(made.ledger.verify())
    assert crowned is not None
    return (
        desired_state.read(made.store, HEART, "dev")["champion"]["version"],
        made.mlflow.champion(HEART),
        crowned["version"],
        made.target.model(HEART)["version"],
    )


def test_the_champion_before_serves_again_and_everything_agrees(twice: Platform) -> None:
    with serving(twice):
        move = decide(twice)
        assert (move["decision"], move["version"]) == ("rolled_back", "1")
        assert move["from"]["version"] == "2"
        rollout(twice).carry_out(move, "ann")
        assert served(twice) == ("1", "1", "1", "1")
        decisions = [entry["decision"] for entry in twice.ledger.verify()]
        assert decisions[-3:] == ["rolled_back", "rolling_out", "promoted"]
        # The same once more does not go back to what was just taken out; by its name it does.
        with pytest.raises(NoWayBackError, match=r"not rolled back itself; there were: 1 .*, 2 "):
            decide(twice)
        rollout(twice).carry_out(decide(twice, "2"), "ann")
        assert served(twice) == ("2", "2", "2", "2")


def test_a_job_with_a_form_does_the_same(twice: Platform) -> None:
    form = {"by": "ann", "reason": "too many alarms", "to": "1"}
    config = {"ops": {f"{HEART}_roll_back": {"config": form}}}
    with serving(twice):
        assert twice.run("rollback", run_config=config).success
        assert served(twice) == ("1", "1", "1", "1")
    entry = next(e for e in twice.ledger.verify() if e["decision"] == "rolled_back")
    assert (entry["actor"], entry["reasons"]) == ("ann", ["too many alarms"])


def test_who_was_killed_after_the_decision_is_finished_by_the_next(twice: Platform) -> None:
    move = decide(twice)
    assert decide(twice) == move
    assert awaiting_rollout(twice.ledger.verify()) == move
    result = twice.tick("rollout")
    assert not result.run_requests
    assert "by whoever decided it" in str(result.skip_reason)
    with serving(twice):
        assert twice.run("deploy").success
        assert served(twice) == ("1", "1", "1", "1")


def test_a_date_names_the_champion_of_then(twice: Platform) -> None:
    first = next(e for e in twice.ledger.verify() if e["decision"] == "promoted")
    assert decide(twice, first["time"])["version"] == "1"
    before = datetime.fromisoformat(first["time"]) - timedelta(days=2)
    with pytest.raises(NoWayBackError, match="nothing was champion"):
        decide(twice, before.date().isoformat())


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("7", "has never been champion.* there were: 2 .*, 1 "),
        ("2026-13-45", "is no date"),
        ("yester-day", "is no date"),
    ],
)
def test_what_was_never_champion_is_not_put_back(twice: Platform, to: str, said: str) -> None:
    before = twice.ledger.verify()
    with pytest.raises(ValueError, match=said):
        decide(twice, to)
    assert twice.ledger.verify() == before


def test_a_reason_is_needed(twice: Platform) -> None:
    with pytest.raises(ValueError, match="say why"):
        decide_rollback(twice.store, twice.ledger, to=None, actor="ann", reason=" \n ")


def test_a_damaged_bundle_is_not_put_back(twice: Platform) -> None:
    first = twice.ledger.entries()[0]
    (twice.store.local(first["path"]) / "features.sql").write_text("select 1")
    before = twice.ledger.verify()
    with pytest.raises(BundleError, match=r"features\.sql"):
        decide(twice)
    assert twice.ledger.verify() == before


def test_without_an_app_the_present_champion_stays(twice: Platform) -> None:
    state = desired_state.read(twice.store, HEART, "dev")
    with pytest.raises(TakenBackError, match="no serving app answers"):
        rollout(twice).carry_out(decide(twice), "ann")
    assert desired_state.read(twice.store, HEART, "dev") == state
    assert twice.mlflow.champion(HEART) == "2"
    assert twice.ledger.verify()[-1]["decision"] == "aborted"
    assert (champion(twice.ledger.verify()) or {})["version"] == "2"


def test_a_rollback_stops_a_rollout_that_is_under_way(twice: Platform) -> None:
    third = variant(twice, "3", 0.3)
    approved = twice.ledger.append("approved", third)
    twice.ledger.append("rolling_out", third | {"decision_of": approved["sequence"], "before": {}})
    desire(twice, third)
    with serving(twice):
        move = decide(twice)
        # Not to version 1: version 2 is what served before the rollout began.
        assert (move["version"], move["from"]["version"]) == ("2", "3")
        rollout(twice).carry_out(move, "ann")
        with pytest.raises(OvertakenError, match=r"is newer|is later"):
            rollout(twice).carry_out(approved, "dagster run 1")
        assert served(twice) == ("2", "2", "2", "2")


def test_the_loser_of_a_race_leaves_everything_alone(
    twice: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollback is decided and carried out while a rollout is about to write its last line."""
    approved = twice.ledger.append("approved", variant(twice, "3", 0.3))
    crown = type(twice.mlflow).crown
    raced: list[str] = []

    def crown_late(mlflow: Any, name: str, version: str) -> None:
        if version == "3" and not raced:
            raced.append(version)
            rollout(twice).carry_out(decide(twice), "ann")
        crown(mlflow, name, version)

    monkeypatch.setattr(type(twice.mlflow), "crown", crown_late)
    with serving(twice):
        with pytest.raises(OvertakenError):
            rollout(twice).carry_out(approved, "dagster run 1")
        assert raced
        assert served(twice) == ("2", "2", "2", "2")


@pytest.mark.parametrize("late", [False, True])
def test_a_version_that_is_rejected_on_its_way_is_taken_back(
    twice: Platform, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """The rejection is written right before, or right after, the alias is moved."""
    third = variant(twice, "3", 0.3)
    approved = twice.ledger.append("approved", third)
    crown = type(twice.mlflow).crown
    rejected: list[str] = []

    def reject() -> None:
        rejected.append("3")
        twice.ledger.append("rejected", third | {"decided_by": "person", "reasons": ["no"]})

    crowned: list[str] = []

    def crown_and_reject(mlflow: Any, name: str, version: str) -> None:
        crowned.append(version)
        crown(mlflow, name, version)
        if late and not rejected:
            reject()

    if not late:
        wait_for = type(twice.target).wait_for

        def wait_and_reject(target: Any, *arguments: Any) -> float:
            seconds = wait_for(target, *arguments)
            reject()
            return seconds

        monkeypatch.setattr(type(twice.target), "wait_for", wait_and_reject)
    monkeypatch.setattr(type(twice.mlflow), "crown", crown_and_reject)
    with serving(twice):
        with pytest.raises(TakenBackError, match="does not hold any more"):
            rollout(twice).carry_out(approved, "dagster run 1")
        wait_until(lambda: twice.target.model(HEART)["version"] == "2", "what served before")
        assert served(twice) == ("2", "2", "2", "2")
    assert twice.ledger.verify()[-1]["decision"] == "rejected"
    assert crowned == (["3", "2"] if late else [])


def test_the_champion_once_more_is_made_to_serve_without_a_decision(twice: Platform) -> None:
    twice.mlflow.crown(HEART, "1")
    before = twice.ledger.verify()
    with serving(twice):
        rollout(twice).carry_out(decide(twice, "2"), "ann")
        assert served(twice) == ("2", "2", "2", "2")
    assert twice.ledger.verify() == before


def test_an_alias_that_was_moved_by_hand_is_reported_and_not_followed(twice: Platform) -> None:
    assert twice.tick("alias").skip_reason
    twice.mlflow.crown(HEART, "1")
    result = twice.tick("alias")
    (event,) = result.asset_events
    assert isinstance(event, dg.AssetCheckEvaluation)
    assert not event.passed
    assert "stands at version 1 in MLflow, and version 2 is the champion" in str(event.description)
    with serving(twice):
        assert twice.target.model(HEART)["version"] == "2"
        assert twice.run("deploy").success
        assert served(twice) == ("2", "2", "2", "2")
    (event,) = twice.tick("alias").asset_events
    assert isinstance(event, dg.AssetCheckEvaluation)
    assert event.passed
    assert twice.tick("alias").skip_reason


def test_a_desired_state_that_was_edited_is_put_back(twice: Platform) -> None:
    first = twice.ledger.entries()[0]
    role = {"version": "1", "bundle": first["path"], "digest": first["bundle"], "percent": 100}
    desired_state.write(twice.store, HEART, "dev", {"champion": role}, decision=999_999)
    with serving(twice):
        wait_until(lambda: twice.target.model(HEART)["version"] == "1", "what somebody wrote")
        (request,) = twice.tick("rollout").run_requests or []
        assert request.tags["mlops/use_case"] == HEART
        assert twice.run("deploy").success
        assert served(twice) == ("2", "2", "2", "2")
        assert not twice.tick("rollout").run_requests
        # Nor does it hold up a person who goes back.
        desired_state.write(twice.store, HEART, "dev", {}, decision=999_999)
        rollout(twice).carry_out(decide(twice), "ann")
        assert served(twice) == ("1", "1", "1", "1")


def test_a_rollback_without_any_former_champion(trained: Platform) -> None:
    with pytest.raises(NoWayBackError, match="no former champion"):
        decide(trained)


def test_the_future_is_known_as_well_as_the_present(twice: Platform) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    assert decide(twice, tomorrow)["version"] == "2"
