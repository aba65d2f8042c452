"""The size of the pods that work on a job, and what dagster-k8s makes of it."""

from collections.abc import Iterator
from typing import Any, get_args

import dagster as dg
import pytest
from dagster_k8s.job import UserDefinedDagsterK8sConfig, get_user_defined_k8s_config
from pydantic import ValidationError

from mlops_assets.lib.spec.pods import Pod, Stage
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.step_pods import VARIABLE
from tests.platform import quick_definitions, quick_spec

SMALL, LARGE = Pod(cpu=0.5, memory_gib=4), Pod(cpu=2, memory_gib=1.5)
# Cores of one and memory of the other: a run does one after the other.
BOTH = {"requests": {"cpu": "2000m", "memory": "4096Mi"}, "limits": {"memory": "4096Mi"}}


@pytest.fixture(autouse=True)
def instance() -> Iterator[None]:
    with dg.DagsterInstance.ephemeral():
        yield


def sized() -> UseCase:
    return quick_spec().model_copy(update={"pods": {"training_set": SMALL, "candidates": LARGE}})


def job(verb: str) -> dg.JobDefinition:
    return quick_definitions(sized()).resolve_job_def(f"heart_disease_{verb}")


def resources(config: dict[str, Any] | UserDefinedDagsterK8sConfig) -> Any:
    """As dagster-k8s reads them, from a step's config or a run's tags."""
    read: Any = UserDefinedDagsterK8sConfig
    found = read.from_dict(config) if isinstance(config, dict) else config
    return found.container_config.get("resources")


def test_a_run_is_as_large_as_the_largest_of_its_stages() -> None:
    retrain = job("retrain")
    assert resources(get_user_defined_k8s_config(retrain.run_tags)) == BOTH
    assert retrain.executor_def.name == "in_process"
    # Another job has nothing of it.
    assert resources(get_user_defined_k8s_config(job("ingest").run_tags)) is None


def test_each_step_of_a_retrain_has_a_pod_where_that_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "step")
    retrain = job("retrain")
    executor = retrain.executor_def
    assert executor.name == "k8s"
    # As Dagster would start it.
    found = executor.apply_config_mapping({"config": {}})
    assert found.success
    assert found.value is not None
    by_step = found.value["config"]["per_step_k8s_config"]
    sizes = {name: resources(each) for name, each in by_step.items()}
    steps = {node.name for node in retrain.nodes}
    training, *others = sorted(sizes, key=lambda name: "candidates" in name)
    assert sizes[training] == SMALL.resources()
    assert {name for name in steps if "candidates" in name} == set(others)
    assert all(sizes[name] == LARGE.resources() for name in others)
    # The run's own pod only waits, and other jobs stay as they are.
    assert resources(get_user_defined_k8s_config(retrain.run_tags)) is None
    assert job("ingest").executor_def.name == "in_process"

    monkeypatch.setenv(VARIABLE, "many")
    with pytest.raises(ValueError, match="MLOPS_RETRAIN_PODS='many': run"):
        job("retrain")


def test_every_stage_may_be_sized_and_nothing_else() -> None:
    specs = quick_definitions().resolve_all_asset_specs()
    # A use case without sources has no asset of that stage; quarantine is made with validated.
    assert {spec.tags["mlops/stage"] for spec in specs} | {"sources"} == {
        *get_args(Stage),
        "quarantine",
    }
    given = quick_spec().model_dump(mode="json", exclude_unset=True)
    for pods in ({"training": {"cpu": 1, "memory_gib": 1}}, {"raw": {"cpu": 0, "memory_gib": 1}}):
        with pytest.raises(ValidationError, match="pods"):
            UseCase.model_validate(given | {"pods": pods})


def test_the_size_of_a_pod_changes_no_model() -> None:
    assert sized().training_digest == quick_spec().training_digest
