"""An environment's policy of rollouts, with the real app: followed, and noted in the ledger."""

from pathlib import Path

import pytest

from mlops_assets.lib.digests import file_digest
from mlops_assets.lib.spec.rollout_policy import VARIABLE
from mlops_assets.lib.spec.spec_file import SpecError
from mlops_assets.operations import rollout_now
from mlops_assets.rollout.rollback import decide_rollback
from tests.rollout.small import Small


def test_new_versions_follow_the_policy_and_a_way_back_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, file = Small(tmp_path, {}), tmp_path / "rollout.yaml"
    made.crowned()
    monkeypatch.setenv(VARIABLE, str(file))
    with made.serving():
        file.write_text("heart_disease: {step: []}")
        move = made.ledger.append("approved", made.version(2))
        with pytest.raises(SpecError, match=r"rollout\.yaml:1: heart_disease\.step: is not"):
            made.rollout().carry_out(move, "test")
        # Nothing has moved, and with the file mended the same decision is carried out.
        assert made.ledger.verify()[-1] == move
        assert made.roles() == {"champion": "1"}
        file.write_text("heart_disease: {steps: [{canary: 10, minutes: 0.02}]}")
        made.rollout().carry_out(move, "test")
        begun, promoted = made.ledger.verify()[-2:]
        assert made.roles() == {"champion": "2"}
        assert [step["name"] for step in promoted["steps"]] == ["canary 10 %"]
        assert begun["rollout_policy"] == promoted["rollout_policy"] == file_digest(file)

        file.unlink()
        back = decide_rollback(made.store, made.ledger, to=None, actor="ann", reason="alarms")
        made.rollout().carry_out(back, "ann")
        assert made.roles() == {"champion": "1"}
        assert "rollout_policy" not in made.ledger.verify()[-1]


def test_the_state_counts_the_steps_of_the_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, file = (
        Small(tmp_path, {"steps": [{"canary": 10, "minutes": 1}]}),
        tmp_path / "rollout.yaml",
    )
    crowned = made.crowned()
    about = {name: crowned[name] for name in ("path", "bundle")} | {"version": "2"}
    move = made.ledger.append("approved", {**about, "actor": "test"})
    facts = {**about, "actor": "test", "environment": "dev", "decision_of": move["sequence"]}
    made.ledger.append("rolling_out", facts | {"before": {}})

    def steps() -> int | None:
        state = rollout_now.found(made.store, made.spec, made.ledger.verify())
        assert state is not None
        assert state["step"] is None
        found: int | None = state["of"]
        return found

    assert steps() == 1
    monkeypatch.setenv(VARIABLE, str(file))
    file.write_text("heart_disease: {steps: [{canary: 10, minutes: 1}, {canary: 50, minutes: 1}]}")
    assert steps() == 2
    file.write_text("heart_disease: {step: []}")
    assert steps() is None
