"""Values of the Helm chart of Dagster, held against all that can be had without the chart."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster_k8s.job import UserDefinedDagsterK8sConfig

from mlops_assets import home
from mlops_assets.lib.spec.rollout_policy import VARIABLE, rollout_policy
from mlops_assets.lib.spec.specs import load_specs
from mlops_assets.resources import KubernetesTarget
from mlops_assets.resources.deployment import images
from mlops_assets.resources.targets import rollout_target
from tests.deploy import manifests
from tests.deploy.manifests import of
from tests.deploy.tools import DEPLOY, ROOT

COMMON: dict[str, Any] = yaml.safe_load((DEPLOY / "dagster" / "values.yaml").read_text())
LAUNCHER = COMMON["runLauncher"]["config"]["k8sRunLauncher"]


def test_the_launcher_takes_what_runs_get() -> None:
    names = {"containerConfig": "container_config", "podSpecConfig": "pod_spec_config"}
    names["jobSpecConfig"] = "job_spec_config"
    given = {names[key]: value for key, value in LAUNCHER["runK8sConfig"].items()}
    made = UserDefinedDagsterK8sConfig.from_dict(given)  # type: ignore[no-untyped-call]
    assert made.container_config["resources"]["limits"]["memory"] == "8Gi"
    assert made.pod_spec_config["security_context"]["run_as_user"] == 10001
    spot = yaml.safe_load((DEPLOY / "dagster" / "values-spot.yaml").read_text(encoding="utf-8"))
    own = spot["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]["podSpecConfig"]
    pod = given["pod_spec_config"] | own  # as Helm puts one over the other
    moved = UserDefinedDagsterK8sConfig.from_dict(given | {"pod_spec_config": pod})  # type: ignore[no-untyped-call]
    assert moved.pod_spec_config["tolerations"][0]["key"] == "mlops-assets/spot"
    assert moved.pod_spec_config["security_context"]["run_as_user"] == 10001


def test_every_part_is_locked_down_and_of_one_image() -> None:
    (code,) = COMMON["dagster-user-deployments"]["deployments"]
    parts = [COMMON["dagsterWebserver"], COMMON["dagsterDaemon"], code]
    for part in parts:
        assert part["image"] == parts[0]["image"]
        assert part["podSecurityContext"]["runAsNonRoot"] is True
        assert part["securityContext"]["readOnlyRootFilesystem"] is True
        assert {"requests", "limits"} == part["resources"].keys()
        # What is written has a volume: the image's state and caches, and Dagster's home.
        mounted = {m["mountPath"] for m in part["volumeMounts"] if not m.get("readOnly")}
        assert mounted == {"/tmp", "/state", "/opt/dagster/dagster_home"}
    web = COMMON["dagsterWebserver"]
    assert web["readinessProbe"]["httpGet"]["port"] == web["service"]["port"] > 1023


def test_limits_of_runs_are_those_of_a_laptop() -> None:
    local = yaml.safe_load((ROOT / "dagster.yaml").read_text(encoding="utf-8"))
    (here,) = local["concurrency"]["runs"]["tag_concurrency_limits"]
    queue = COMMON["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    assert queue["tagConcurrencyLimits"] == [here]
    monitoring = COMMON["dagsterDaemon"]["runMonitoring"]
    assert monitoring["enabled"]
    assert monitoring["maxResumeRunAttempts"] == local["run_monitoring"]["max_resume_run_attempts"]


@pytest.mark.parametrize("name", ["staging", "production"])
def test_dagster_and_serving_follow_the_same_state(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = yaml.safe_load((DEPLOY / "dagster" / f"values-{name}.yaml").read_text(encoding="utf-8"))
    settings, _ = of(own["extraManifests"], "ConfigMap")
    assert settings["metadata"]["name"] == LAUNCHER["envConfigMaps"][0]["name"]
    for variable, value in settings["data"].items():
        monkeypatch.setenv(variable, value)
    found = manifests.overlay(name)
    (served,) = (c["data"] for c in of(found, "ConfigMap"))
    assert home.environment() == served["MLOPS_ENVIRONMENT"] == name
    assert home.storage_root() == served["MLOPS_STORAGE_ROOT"]
    (service,) = of(found, "Service")
    at = f"http://{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
    assert home.url("serving") == at
    target = rollout_target()
    assert isinstance(target, KubernetesTarget)
    (deployment,) = of(found, "Deployment")
    about = deployment["metadata"]
    assert (target.namespace, target.deployment) == (about["namespace"], about["name"])
    assert target.deployment in images(deployment)
    # No more than what the target asks for, and of no other Deployment.
    (role,) = of(found, "Role")
    rules = {rule["resources"][0]: rule for rule in role["rules"]}
    assert rules.keys() == {"deployments", "pods"}
    assert rules["deployments"]["resourceNames"] == [target.deployment]
    assert sorted(rules["deployments"]["verbs"]) == ["get", "patch", "watch"]
    assert rules["pods"]["verbs"] == ["list"]
    (binding,) = of(found, "RoleBinding")
    subject = binding["subjects"][0]
    assert (subject["name"], subject["namespace"]) == (
        COMMON["global"]["serviceAccountName"],
        f"dagster-{name}",
    )


@pytest.mark.parametrize("name", ["staging", "production"])
def test_runs_find_the_rollout_policy_and_it_has_no_mistake(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = yaml.safe_load((DEPLOY / "dagster" / f"values-{name}.yaml").read_text(encoding="utf-8"))
    settings, policy = of(own["extraManifests"], "ConfigMap")
    ((key, text),) = policy["data"].items()
    volumes = {volume["name"]: volume for volume in LAUNCHER["volumes"]}
    (mount,) = (m for m in LAUNCHER["volumeMounts"] if m.get("readOnly"))
    assert volumes[mount["name"]]["configMap"]["name"] == policy["metadata"]["name"]
    assert settings["data"][VARIABLE] == f"{mount['mountPath']}/{key}"
    (tmp_path / key).write_text(text, encoding="utf-8")
    monkeypatch.setenv(VARIABLE, str(tmp_path / key))
    found = rollout_policy()
    assert found is not None
    # Every use case has steps, and none that no traffic of such a place could pass.
    assert found.by_use_case.keys() == load_specs().keys()
    for rules in found.by_use_case.values():
        assert rules.steps
        assert (rules.analysis.without_traffic == "proceed") == (name == "staging")
