"""A disk that is full stops a step and breaks nothing: with room again, the work is done."""

from pathlib import Path

import pytest

from mlops_assets.lib.features.dbt_project import feature_model, prepare
from mlops_assets.stages.evidence import look_at_batches
from tests.disk import fill
from tests.platform import DATA, HEART, Platform, platform


def partials(made: Platform) -> list[str]:
    return list(made.store.leftovers(HEART))


def state(made: Platform) -> str:
    model = feature_model(prepare(HEART, made.spec.contract), HEART)
    (batch,) = look_at_batches(made.instance, made.batches, made.spec, model)
    return batch.state


def test_every_step_of_a_batch_survives_a_full_disk(disk: Path) -> None:
    with platform(disk) as made:
        ballast = fill(disk)
        with pytest.raises(OSError, match="No space left"):
            made.batches.land(DATA / "heart_cleveland.csv")
        ballast.unlink()
        key = made.land(DATA / "heart_cleveland.csv")
        for stage in ("raw", "validated", "features"):
            ballast = fill(disk)
            failed = made.materialize(stage, partition_key=key)
            assert not failed.success
            words = [str(event.event_specific_data) for event in failed.all_events]
            assert any("No space left" in said for said in words)
            # Not an answer about the batch, and nothing half-written: the next attempt finds room.
            assert state(made) == "outstanding"
            assert partials(made) == []
            ballast.unlink()
            assert made.materialize(stage, partition_key=key).success
        assert state(made) == "accepted"
