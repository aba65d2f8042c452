"""Every overlay and component is built, held against schemas, and against the app that it runs.

Nothing here needs a cluster, and nothing here has seen one: that a controller does what an object
asks for is not tested.
"""

import copy
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from serving.app import App
from serving.settings import Settings, SettingsError, load_settings
from tests.deploy import checks, manifests, prometheus_rule
from tests.deploy.manifests import COMPONENTS, OURS, OVERLAYS, Object, named, of, pods
from tests.deploy.tools import DEPLOY, MODELS, run

NAMESPACES = {"staging": "mlops-staging"}
DIGEST = "sha256:" + "0123456789abcdef" * 4
# Of no operator's package; what their objects say of pods is checked all the same.
UNCHECKED = ("serving.kserve.io", "autoscaling.k8s.io")

BUILDS = [
    *(pytest.param(manifests.overlay, name, id=name) for name in OVERLAYS),
    *(pytest.param(manifests.component, name, id=f"component {name}") for name in COMPONENTS),
]
every_build = pytest.mark.parametrize(("build", "name"), BUILDS)
Build = Callable[[str], Sequence[Object]]


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Every path of the real app, as its own documentation has it."""
    folder = str(tmp_path_factory.mktemp("app"))
    app = App(Settings(use_cases=("heart_disease",), storage_root=folder, prediction_log=False))
    return [*app.documented.openapi()["paths"], "/docs"]


@every_build
def test_objects_keep_to_the_schemas_of_kubernetes(build: Build, name: str) -> None:
    newest = kubernetes_validate.latest_version()
    for each in build(name):
        if _group(each) in ("", "apps", "batch", "policy") or _group(each).endswith(".k8s.io"):
            try:
                kubernetes_validate.validate(each, newest, strict=True)
            except kubernetes_validate.SchemaNotFoundError:
                assert _group(each) in (*UNCHECKED, "gateway.networking.k8s.io"), named(each)


def test_custom_resources_keep_to_the_schemas_of_their_operators() -> None:
    if not MODELS.is_dir():
        pytest.skip("no schemas of custom resources: make deploy-tools")
    found = {
        (each["apiVersion"], named(each)): each
        for name in COMPONENTS
        for each in manifests.component(name)
        if "." in _group(each)
        and not _group(each).endswith(("authorization.k8s.io", *UNCHECKED))
        and _group(each) != "networking.k8s.io"
    }
    kinds = {each["kind"] for each in found.values()}
    wanted = "AnalysisTemplate ExternalSecret Gateway HTTPRoute PrometheusRule Rollout"
    assert kinds == {*wanted.split(), "ScaledObject", "ServiceMonitor"}
    assert _wrong(list(found.values())) == []
    # The schemas do see what is wrong.
    planted = copy.deepcopy(list(found.values()))
    for each in planted:
        each["spec"] = "none"
    assert len(_wrong(planted)) == len(planted)


def _wrong(resources: Sequence[Object]) -> list[list[str]]:
    script = Path(__file__).with_name("custom_resources.mjs")
    said: list[list[str]] = json.loads(run("node", script, MODELS, given=json.dumps(resources)))
    return said


def _group(each: Object) -> str:
    group, _, version = each["apiVersion"].rpartition("/")
    return str(group) if version else ""


@every_build
def test_objects_fit_each_other_and_the_app(build: Build, name: str, routes: list[str]) -> None:
    found = build(name)
    namespace = NAMESPACES.get(name, "mlops-production")
    assert list(_problems(found, namespace, routes)) == []


def _problems(found: Sequence[Object], namespace: str, routes: Sequence[str]) -> Iterator[str]:
    yield from checks.namespaces(found, namespace)
    yield from checks.selectors(found)
    yield from checks.targets(found)
    yield from checks.ports(found)
    yield from checks.paths(found, routes)
    yield from checks.replicas(found)
    yield from checks.schedules(found)
    yield from checks.locked_down(found)
    yield from checks.images(found, OURS)
    yield from checks.settings(found)


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_is_deployed_is_pinned_and_whole(name: str) -> None:
    found = manifests.deployed(name, DIGEST)
    assert list(checks.images(found, ours=())) == []
    assert list(checks.references(found)) == []
    (serving,) = (each for each in pods(found) if each.owner.endswith(" serving"))
    assert serving.containers[0]["image"] == f"registry.example/mlops-assets/serving@{DIGEST}"


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_app_starts_with_these_settings(name: str, tmp_path: Path) -> None:
    found = manifests.overlay(name)
    (serving,) = (each for each in pods(found) if each.owner.endswith(" serving"))
    given = checks.environment(found, serving)
    keys = {"api.keys": f"reporting:{'0' * 64}", "trusted.keys": "A" * 43 + "="}
    for file, text in keys.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    moved = {k: v.replace("/etc/mlops/access", str(tmp_path)) for k, v in given.items()}
    settings = load_settings([], moved)
    expected = NAMESPACES.get(name, "mlops-production").removeprefix("mlops-")
    assert settings.environment == expected
    assert settings.storage_root == f"s3://mlops-{expected}/storage"
    # A bundle that nobody has signed is not served, in staging no more than in production.
    assert settings.trust().keys
    without = {k: v for k, v in moved.items() if k != "SERVING_TRUSTED_KEYS_FILE"}
    if expected == "production":
        with pytest.raises(SettingsError, match="somebody vouches for"):
            load_settings([], without)


def test_placeholders_of_secrets_do_not_work_unchanged() -> None:
    assert sum(1 for _ in of(manifests.component("secret"), "Secret")) == 2
    folder = DEPLOY / "kubernetes" / "components" / "secret"
    for kind in ("api", "trusted"):
        setting = f"SERVING_{kind.upper()}_KEYS_FILE"
        given = {"SERVING_USE_CASE": "churn", setting: str(folder / f"{kind}.keys.example")}
        with pytest.raises(SettingsError):
            load_settings([], given)
    ignored = (folder / ".gitignore").read_text(encoding="utf-8").split()
    assert ignored == ["storage.env", "api.keys", "trusted.keys"]


def test_the_operators_rules_are_the_rules() -> None:
    assert prometheus_rule.MANIFEST.read_text(encoding="utf-8") == prometheus_rule.manifest()


def _change(path: str, value: Any) -> Callable[[Sequence[Object]], None]:
    """Set or, with None, remove a field: `Kind/field/0/field`."""

    def change(objects: Sequence[Object]) -> None:
        kind, *steps = path.split("/")
        found: Any = next(of(objects, kind))
        *way, last = [int(step) if re.fullmatch(r"\d+", step) else step for step in steps]
        for step in way:
            found = found[step]
        if value is None:
            del found[last]
        else:
            found[last] = value

    return change


POD, CONTAINER = "Deployment/spec/template/spec", "Deployment/spec/template/spec/containers/0"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("Deployment/metadata/namespace", "default", "is in the namespace default"),
        ("Deployment/spec/replicas", 1, "sets replicas"),
        ("Deployment/spec/selector/matchLabels", {"a": "b"}, "does not choose its own pods"),
        ("Service/spec/selector", {"app": "other"}, "Service serving chooses no pod"),
        ("Service/spec/ports/0/targetPort", 8080, "sends to port 8080"),
        ("Service/metadata/labels", {}, "finds no service with a port http"),
        ("PodDisruptionBudget/spec/selector/matchLabels", {"a": "b"}, "chooses no pod"),
        ("HorizontalPodAutoscaler/spec/minReplicas", 21, "at least 21 and at most 20"),
        ("HorizontalPodAutoscaler/spec/maxReplicas", 60, "too little for 61 replicas"),
        ("HorizontalPodAutoscaler/spec/scaleTargetRef/name", "other", "Deployment other"),
        ("Role/rules/0/resourceNames", ["other"], "is about Deployment other"),
        ("Role/rules/0/resources", ["secrets"], "may do too much"),
        ("Ingress/spec/rules/0/http/paths/0/path", "/prediction", "leads to /prediction"),
        ("Ingress/spec/rules/0/http/paths/0/path", "/", "leads from outside to"),
        ("Ingress/spec/rules/0/http/paths/0/backend/service/port/name", "web", "port web"),
        (f"{CONTAINER}/readinessProbe/httpGet/path", "/ready", "readinessProbe asks /ready"),
        (f"{CONTAINER}/livenessProbe/httpGet/port", 9000, "livenessProbe asks port 9000"),
        (f"{CONTAINER}/ports/0/name", "web", "opens port http"),
        (f"{CONTAINER}/image", "python:latest", "may be another one tomorrow"),
        (f"{CONTAINER}/resources/limits", {"cpu": "1"}, "no limits of"),
        (f"{CONTAINER}/securityContext/readOnlyRootFilesystem", None, "may write to"),
        (f"{CONTAINER}/securityContext/capabilities", None, "keeps capabilities"),
        (f"{CONTAINER}/securityContext/allowPrivilegeEscalation", True, "gain privileges"),
        (f"{POD}/securityContext/runAsNonRoot", None, "may run as root"),
        (f"{POD}/securityContext/seccompProfile", None, "no seccomp"),
        (f"{POD}/automountServiceAccountToken", None, "gets a token"),
        (f"{POD}/enableServiceLinks", None, "gets variables of services"),
        (f"{POD}/terminationGracePeriodSeconds", 30, "killed after 30 s"),
        ("ConfigMap/data/SERVING_DRAIN_SECOND", "5", "is SERVING_DRAIN_SECONDS meant"),
        ("ConfigMap/data/SERVING_LOG_SPOOL_MB", "1024", "too little room"),
    ],
)
def test_the_checks_see_what_is_wrong(path: str, value: Any, said: str, routes: list[str]) -> None:
    found = copy.deepcopy(manifests.overlay("production"))
    _change(path, value)(found)
    assert said in "\n".join(_problems(found, "mlops-production", routes))


def test_the_checks_see_a_wrong_schedule_and_what_is_not_there() -> None:
    found = copy.deepcopy(manifests.component("weekly-retrain"))
    _change("CronJob/spec/schedule", "61 * * * *")(found)
    assert "is no schedule" in "\n".join(checks.schedules(found))
    kept = [each for each in manifests.overlay("staging") if "Secret" not in each["kind"]]
    said = "\n".join(checks.references(kept))
    assert "reads Secret serving-access" in said
    assert "reads Secret serving-storage" in said
