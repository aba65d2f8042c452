"""A person approves, rejects and outvotes; with the real gate and its real evidence."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster_shared.record import replace

from mlops_assets.lib.features.dbt_project import feature_model, prepare
from mlops_assets.lib.records.history import awaiting_rollout
from mlops_assets.operations import decide as deciding
from mlops_assets.operations.decide import Answer, RefusedError, decide, expire
from mlops_assets.stages.evidence import batch_checks
from tests.platform import HEART, Platform, checks, platform, quick_spec
from tests.stages.test_gate import Alter, one, replay, same


@contextmanager
def judged(trained: Platform, home: Path, alter: Alter = same) -> Iterator[Platform]:
    """The trained platform before its decision, in a use case where a person approves."""
    spec = quick_spec()
    manual = spec.gate.model_copy(update={"approval": "manual", "approval_days": 7})
    with platform(home, spec=spec.model_copy(update={"gate": manual})) as made:
        replay(trained, made, alter)
        yield made


@pytest.fixture
def manual(trained: Platform, tmp_path: Path) -> Iterator[Platform]:
    with judged(trained, tmp_path) as made:
        yield made


def answer(made: Platform, word: Answer, version: str = "1") -> dict[str, Any]:
    model = feature_model(prepare(HEART, made.spec.contract), HEART)
    return decide(
        made.instance,
        made.store,
        made.spec,
        lambda lineage: batch_checks(made.spec, model, lineage),
        word,
        version,
        actor="ann",
        reason="looked at the card",
    )


def decisions(made: Platform) -> list[str]:
    return [entry["decision"] for entry in made.ledger.verify()]


def test_a_version_waits_until_a_person_approves(manual: Platform) -> None:
    result = manual.materialize("promotion")
    assert result.success
    passed, said = checks(result)["promotion/gate"]
    assert passed
    assert said.startswith("version 1 pending")
    (event,) = result.asset_materializations_for_node(f"{HEART}__promotion")
    assert "mlops approve heart_disease 1" in str(event.metadata["what to do"].value)
    assert "version 1 waits for a person" in str(manual.tick("rollout").skip_reason)
    # Judged again, it still waits: nothing is written twice.
    assert manual.materialize("promotion").success
    assert decisions(manual) == ["pending"]

    entry = answer(manual, "approve")
    assert decisions(manual) == ["pending", "approved"]
    assert (entry["actor"], entry["decided_by"]) == ("ann", "person")
    assert entry["reasons"] == ["looked at the card"]
    assert {check["status"] for check in entry["checks"]} == {"passed"}
    assert awaiting_rollout(manual.ledger.verify()) == entry
    # The gate leaves a person's approval alone, and nobody approves twice.
    assert manual.materialize("promotion").success
    assert decisions(manual) == ["pending", "approved"]
    with pytest.raises(RefusedError, match="does not wait for approval"):
        answer(manual, "approve")


def test_the_job_with_a_form_approves(manual: Platform) -> None:
    assert manual.materialize("promotion").success
    form = {"answer": "approve", "version": "1", "by": "ann", "reason": "fine"}
    config = {"ops": {f"{HEART}_decision": {"config": form}}}
    assert manual.run("decide", run_config=config).success
    assert decisions(manual) == ["pending", "approved"]
    config["ops"][f"{HEART}_decision"]["config"]["answer"] = "perhaps"
    assert not manual.run("decide", run_config=config).success


def test_what_a_person_rejected_stays_out_until_a_person_lets_it_in(manual: Platform) -> None:
    assert manual.materialize("promotion").success
    answer(manual, "reject")
    # Judged again, by hand and after another version was: the gate keeps it out.
    assert not manual.materialize("promotion").success
    assert decisions(manual) == ["pending", "rejected"]
    other = {"version": "9", "bundle": "9" * 64, "wanted": "9", "actor": "test"}
    manual.ledger.append("rejected", other)
    assert not manual.materialize("promotion").success
    assert decisions(manual) == ["pending", "rejected", "rejected", "rejected"]
    assert "only a person lets it in again" in manual.ledger.verify()[-1]["reasons"][0]
    assert awaiting_rollout(manual.ledger.verify()) is None
    answer(manual, "promote")
    assert decisions(manual)[-1] == "approved"
    assert awaiting_rollout(manual.ledger.verify()) is not None
    # Once more would begin the rollout anew, out of reach of who holds or stops this one.
    with pytest.raises(
        RefusedError, match=r"is approved already, by entry 5 .* heart_disease_deploy"
    ):
        answer(manual, "promote")


def test_an_approval_at_the_last_moment_does_not_expire(
    manual: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written after the sensor has found the version late, and before it says so."""
    assert manual.materialize("promotion").success
    raced: list[bool] = []

    def is_late(*_: object) -> bool:
        if raced:
            return False  # asked by the approval itself
        raced.append(True)
        answer(manual, "approve")
        return True

    monkeypatch.setattr(deciding, "_is_late", is_late)
    assert expire(manual.spec, manual.ledger, datetime.now(UTC)) == []
    assert decisions(manual) == ["pending", "approved"]


def test_an_approval_is_taken_back_before_it_is_rolled_out(manual: Platform) -> None:
    assert manual.materialize("promotion").success
    answer(manual, "approve")
    answer(manual, "reject")
    assert decisions(manual) == ["pending", "approved", "rejected"]
    assert awaiting_rollout(manual.ledger.verify()) is None
    with pytest.raises(RefusedError, match="does not wait"):
        answer(manual, "reject")


def test_who_waits_too_long_is_judged_again(
    manual: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert manual.materialize("promotion").success
    now = datetime.now(UTC)
    assert expire(manual.spec, manual.ledger, now + timedelta(days=6.9)) == []
    # A clock that was put back lets nothing expire.
    assert expire(manual.spec, manual.ledger, now - timedelta(days=900)) == []
    assert not manual.tick("rollout").run_requests
    assert decisions(manual) == ["pending"]
    (entry,) = expire(manual.spec, manual.ledger, now + timedelta(days=7.1))
    assert "nobody approved it within 7 days" in entry["reasons"]
    with pytest.raises(RefusedError, match="its last decision is 'expired'"):
        answer(manual, "approve")
    assert manual.materialize("promotion").success
    assert decisions(manual) == ["pending", "expired", "pending"]
    late = manual.spec.gate.model_copy(update={"approval_days": -1.0})
    monkeypatch.setattr(manual.spec, "gate", late)
    with pytest.raises(RefusedError, match="its evidence is old"):
        answer(manual, "approve")


@pytest.mark.parametrize("word", ["approve", "promote"])
def test_nobody_outvotes_a_blessing(trained: Platform, tmp_path: Path, word: Answer) -> None:
    failed = one("evaluation/floors", lambda e: replace(e, passed=False))
    with judged(trained, tmp_path, failed) as made:
        # As somebody would who writes the ledger's line without asking the gate.
        first = trained.ledger.entries()[0]
        names = ("version", "bundle", "path", "wanted", "batches")
        made.ledger.append("pending", {name: first[name] for name in names} | {"actor": "eve"})
        with pytest.raises(RefusedError, match="nobody outvotes that: heart_disease/evaluation"):
            answer(made, word)
        assert decisions(made) == ["pending"]
        assert not made.materialize("promotion").success
        assert decisions(made) == ["pending", "rejected"]
