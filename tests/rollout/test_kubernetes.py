"""Rollouts in a cluster: a real one where ``KUBECONFIG`` names one, and a fake of it otherwise.

What an API server cannot be told to do, to be busy or to forbid, and what needs an app in the
pods, runs against the fake alone.
"""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets.automation.rolling_out import rollout_sensor
from mlops_assets.lib.digests import digest_of, short
from mlops_assets.lib.records.desired_state import TakenBackError
from mlops_assets.lib.records.ledger import LedgerError, head
from mlops_assets.operations.status import as_text, status
from mlops_assets.resources import KubernetesTarget, LocalTarget, StorageRoot
from mlops_assets.resources.deployment import addresses
from mlops_assets.resources.kubernetes_target import alike
from mlops_assets.resources.rollout_target import TargetError, serves
from mlops_assets.resources.targets import rollout_target
from mlops_assets.rollout.rollback import decide_rollback
from tests.rollout.fake_kubernetes import FakeKubernetes
from tests.rollout.real_kubernetes import RealKubernetes
from tests.rollout.small import Small
from tests.serving.bundles import USE_CASE
from tests.serving.server import wait_until

CLUSTER = os.environ.get("KUBECONFIG")
OLD, NEW = digest_of("old"), digest_of("new")
HEAD = "3:" + digest_of("head")
Cluster = FakeKubernetes | RealKubernetes


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKubernetes]:
    with FakeKubernetes() as made:
        (tmp_path / "kubeconfig").write_text(made.kubeconfig(), encoding="utf-8")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield made


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    if CLUSTER is None:
        yield request.getfixturevalue("fake")
    else:
        with RealKubernetes() as made:
            yield made


def target(cluster: Cluster, url: str = "http://127.0.0.1:1", **more: Any) -> KubernetesTarget:
    return KubernetesTarget(url=url, environment="dev", namespace=cluster.namespace, **more)


def champion(digest: str) -> dict[str, Any]:
    return {"champion": {"version": "1", "digest": digest, "percent": 100}}


def noted(cluster: Cluster) -> dict[str, str]:
    found: dict[str, str] = cluster.deployment()["spec"]["template"]["metadata"]["annotations"]
    return found


def revision(cluster: Cluster) -> str:
    found: str = cluster.deployment()["metadata"]["annotations"][
        "deployment.kubernetes.io/revision"
    ]
    return found


def image(cluster: Cluster) -> str:
    (container,) = cluster.deployment()["spec"]["template"]["spec"]["containers"]
    found: str = container["image"]
    return found


def made_to_serve(target: KubernetesTarget, digest: str, use_case: str = USE_CASE) -> None:
    target.apply(use_case, champion(digest), HEAD)
    target.settle(use_case, champion(digest))


def test_a_champion_makes_new_pods_and_a_canary_moves_none(cluster: Cluster) -> None:
    there = target(cluster)
    made_to_serve(there, OLD, "churn")
    made_to_serve(there, OLD)
    cluster.scale(5)
    before = revision(cluster)
    canary = champion(OLD) | {"challenger": {"version": "2", "digest": NEW, "percent": 10}}
    there.apply(USE_CASE, canary, HEAD)
    there.apply(USE_CASE, {}, HEAD)
    assert revision(cluster) == before
    made_to_serve(there, NEW)
    assert noted(cluster) == {
        "mlops-assets/churn-champion-digest": OLD,
        "mlops-assets/churn-ledger-head": HEAD,
        f"mlops-assets/{USE_CASE}-champion-digest": NEW,
        f"mlops-assets/{USE_CASE}-ledger-head": HEAD,
    }
    found = cluster.deployment()
    assert int(revision(cluster)) == int(before) + 1
    # The autoscaler's replicas, and the image of whoever brought it.
    assert (found["spec"]["replicas"], found["status"]["availableReplicas"]) == (5, 5)
    assert image(cluster) == cluster.images[0]


def test_an_image_that_does_not_exist_goes_back_with_its_digest(cluster: Cluster) -> None:
    made_to_serve(target(cluster), OLD)
    cluster.hand_over_images()
    good, bad = (target(cluster, image=each) for each in (cluster.images[0], "localhost:1/none:1"))
    bad.apply(USE_CASE, champion(NEW), HEAD)
    with pytest.raises(TargetError, match=r"ProgressDeadlineExceeded.*(ImagePull|ErrImage)"):
        bad.settle(USE_CASE, champion(NEW))
    made_to_serve(bad, OLD)
    assert image(cluster) == cluster.images[1]
    # Tried again with an image that is there.
    made_to_serve(good, NEW)
    assert image(cluster) == cluster.images[0]
    made_to_serve(good, OLD)
    assert image(cluster) == cluster.images[1]
    assert cluster.least >= 3


def test_a_pod_that_never_turns_ready_is_said(cluster: Cluster) -> None:
    there = target(cluster)
    made_to_serve(there, OLD)
    cluster.break_readiness()
    there.apply(USE_CASE, champion(NEW), HEAD)
    with pytest.raises(TargetError, match="ProgressDeadlineExceeded: ReplicaSet"):
        there.settle(USE_CASE, champion(NEW))
    assert cluster.least >= 3


def test_what_is_another_s_is_left_alone_and_what_is_ours_is_not(cluster: Cluster) -> None:
    made_to_serve(target(cluster), OLD)
    with pytest.raises(TargetError, match=r'conflict with "kubectl.*image') as caught:
        target(cluster, image=cluster.images[1]).apply(USE_CASE, champion(NEW), HEAD)
    assert "409" in str(caught.value)
    assert (image(cluster), noted(cluster)[f"mlops-assets/{USE_CASE}-champion-digest"]) == (
        cluster.images[0],
        OLD,
    )
    cluster.annotate(f"mlops-assets/{USE_CASE}-champion-digest", "by hand")
    there = target(cluster)
    entries = [{"sequence": n, "hash": digest_of("head")} for n in (1, 2, 3)]
    said = there.drift(USE_CASE, champion(OLD), entries)
    assert said is not None
    assert f"names by hand of {USE_CASE}, and the desired state {OLD[:12]}" in said
    made_to_serve(there, OLD)
    assert noted(cluster)[f"mlops-assets/{USE_CASE}-champion-digest"] == OLD


def test_a_second_rollout_ends_the_first(cluster: Cluster) -> None:
    there, said = target(cluster), list[str]()
    made_to_serve(there, OLD)
    cluster.break_readiness()
    there.apply(USE_CASE, champion(NEW), HEAD)

    def first() -> None:
        try:
            there.settle(USE_CASE, champion(NEW))
        except TargetError as error:
            said.append(str(error))

    thread = threading.Thread(target=first)
    thread.start()
    there.apply(USE_CASE, champion(OLD), HEAD)
    thread.join(30)
    assert "its pods are now made for" in said[0]


def test_a_busy_api_server_is_asked_again(fake: FakeKubernetes) -> None:
    fake.failures = {verb: [(500, {}), (503, {})] for verb in ("get", "watch")}
    fake.failures["patch"] = [(429, {"Retry-After": "1"})]
    started = time.monotonic()
    made_to_serve(target(fake), NEW)
    assert time.monotonic() - started > 1  # as long as it asked for
    assert fake.failures == {"get": [], "patch": [], "watch": []}


def test_a_watch_that_drops_is_taken_up_anew(fake: FakeKubernetes) -> None:
    fake.drop_watches = True
    made_to_serve(target(fake), NEW)
    fake.drop_watches = False
    fake.failures = {"watch": [(410, {})]}
    made_to_serve(target(fake), OLD)
    assert fake.requests.count("watch") >= 2


def test_a_cluster_that_says_nothing_has_failed(fake: FakeKubernetes) -> None:
    fake.break_readiness()
    fake.silent = True
    there = target(fake, patience=0.2)
    there.apply(USE_CASE, champion(NEW), HEAD)
    with pytest.raises(TargetError, match=r"nothing has changed for 0\.8 s"):
        there.settle(USE_CASE, champion(NEW))


@pytest.mark.parametrize(("verb", "what"), [("patch", "deployments"), ("watch", "deployments")])
def test_what_is_forbidden_is_named_with_its_role(
    fake: FakeKubernetes, verb: str, what: str
) -> None:
    fake.failures = {verb: [(403, {})]}
    said = rf"may not {verb} {what} in namespace mlops-test \(403: planted 403\).*rollout-role.yaml"
    with pytest.raises(TargetError, match=said):
        made_to_serve(target(fake), NEW)


def test_an_api_server_that_is_away_is_said(fake: FakeKubernetes) -> None:
    fake.failures = {"get": [(500, {})] * 9}
    with pytest.raises(TargetError, match="answered 500 to get deployments"):
        target(fake, retry_seconds=0.2).apply(USE_CASE, champion(NEW), HEAD)


class Killed(BaseException):
    """The run is gone."""


class Mortal(KubernetesTarget):
    """A target whose run is killed while it watches."""

    def settle(self, use_case: str, roles: Any) -> None:
        raise Killed


def test_a_rollout_goes_through_and_back_and_survives_a_kill(
    fake: FakeKubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Small(tmp_path / "made", {"timeout_seconds": 10})
    made.crowned()
    with made.serving() as server:
        fake.pod_port = server.port
        there = made.target = target(fake, url=made.target.url)
        key = f"mlops-assets/{USE_CASE}"

        move = made.ledger.append("approved", made.version(2))
        made.target = Mortal(**there.model_dump())
        with pytest.raises(Killed):
            made.rollout().carry_out(move, "first")
        made.target = there
        made.rollout().carry_out(move, "second")
        digest = noted(fake)[f"{key}-champion-digest"]
        assert (made.mlflow.champion(USE_CASE), digest) == ("2", move["bundle"])
        # The newest entry as the desired state was written: that the rollout had begun.
        began = made.ledger.entries()[-2]
        assert noted(fake)[f"{key}-ledger-head"] == head(began)
        assert began["decision"] == "rolling_out"
        assert fake.requests.count("patch") == 1
        assert there.counters(USE_CASE).keys() == fake.ready

        fake.break_readiness()
        failing = made.ledger.append("approved", made.version(3))
        with made.loaded(40, 3.0, "2", "3") as report:
            with pytest.raises(TakenBackError, match="ProgressDeadlineExceeded"):
                made.rollout().carry_out(failing, "run")
            found = report()
        assert (found.errors, found.wrong) == ({}, 0), found.examples
        assert made.roles() == {"champion": "2"}
        assert noted(fake)[f"{key}-champion-digest"] == move["bundle"]
        assert made.ledger.verify()[-1]["decision"] == "aborted"

        # Whoever goes back waits for no cluster; what it lacks is reported, and mended.
        fake.failures = {"patch": [(403, {})]}
        back = decide_rollback(made.store, made.ledger, to="1", actor="ann", reason="alarms")
        lines: list[str] = []
        made.rollout().carry_out(back, "ann", lines.append)
        assert "may not patch deployments" in lines[0]
        wait_until(lambda: bool(server.model()["version"] == "1"), "the former champion")
        monkeypatch.setenv("MLOPS_ROLLOUT_TARGET", "kubernetes")
        monkeypatch.setenv("MLOPS_SERVING_NAMESPACE", fake.namespace)
        monkeypatch.setenv("MLOPS_STORAGE_ROOT", made.store.root)
        monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "nowhere"))
        drifted = f"names {short(move['bundle'])} of {USE_CASE}, and the desired state"
        shown = as_text(status(made.spec))
        assert f"  deployment the pod template of Deployment mlops-test/serving {drifted}" in shown
        assert len(asked_by_sensor(made)) == 1
        made.rollout().carry_out(made.ledger.verify()[-1], "sensor")
        assert asked_by_sensor(made) == []
        assert status(made.spec)["deployment"] is None
        with pytest.raises(LedgerError, match="cut off or rewritten"):
            there.drift(USE_CASE, champion(OLD), made.ledger.verify()[:2])


def asked_by_sensor(made: Small) -> list[dg.RunRequest]:
    with dg.DagsterInstance.ephemeral() as instance:
        resources = {"storage": StorageRoot(root=made.store.root), "target": made.target}
        context = dg.build_sensor_context(instance=instance, resources=resources)
        found = rollout_sensor(made.spec, "deploy")(context)
    assert isinstance(found, dg.SensorResult)
    return list(found.run_requests or [])


def test_pods_that_differ_do_not_serve_what_only_some_of_them_do() -> None:
    canary = champion(OLD) | {"challenger": {"version": "2", "digest": NEW, "percent": 10}}

    def model(roles: dict[str, Any], wrong: str | None = None) -> dict[str, Any]:
        return {"roles": roles, "on_trial": {}, "problem": wrong}

    follows = {"a": model(canary), "b": model(canary)}
    assert serves(alike(follows), canary)
    # One has not looked yet: neither the old state nor the new one.
    behind = alike({"a": model(canary), "b": model(champion(OLD))})
    assert not serves(behind, canary)
    assert not serves(behind, champion(OLD))
    assert "challenger" in behind["roles"]
    # One cannot: the version has failed.
    failed = alike({"a": model(canary), "b": model(champion(OLD), "its model raises")})
    assert "challenger" not in failed["roles"]
    assert failed["problem"] == "pod b: its model raises"


def test_pods_that_are_ready_are_asked_or_else_those_that_have_started(
    fake: FakeKubernetes,
) -> None:
    fake.ready.remove("serving-1")
    pods = fake.pod_list()["items"]
    pods[2]["status"]["podIP"] = "fd00::7"
    assert addresses(pods, "serving") == {
        "serving-0": "http://127.0.0.1:1",
        "serving-2": "http://[fd00::7]:1",
    }
    # Without a champion none is ready, and the first one has to come somehow.
    fake.ready.clear()
    pods = fake.pod_list()["items"]
    pods[1]["status"]["containerStatuses"][0]["started"] = False
    pods[2]["status"].pop("containerStatuses")
    assert addresses(pods, "serving") == {"serving-0": "http://127.0.0.1:1"}


def test_the_target_is_chosen_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(rollout_target()) is LocalTarget
    monkeypatch.setenv("MLOPS_ROLLOUT_TARGET", "kubernetes")
    with pytest.raises(ValueError, match="needs MLOPS_SERVING_NAMESPACE"):
        rollout_target()
    monkeypatch.setenv("MLOPS_SERVING_NAMESPACE", "mlops-staging")
    found = rollout_target()
    assert isinstance(found, KubernetesTarget)
    assert (found.namespace, found.deployment, found.image) == ("mlops-staging", "serving", "")
    monkeypatch.setenv("MLOPS_ROLLOUT_TARGET", "swarm")
    with pytest.raises(ValueError, match="'swarm': local or kubernetes"):
        rollout_target()
