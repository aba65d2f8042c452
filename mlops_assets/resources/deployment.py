"""What a Deployment and its pods say of themselves, as the API server gives them."""

from collections.abc import Mapping, Sequence
from typing import Any

Object = Mapping[str, Any]
PORT = "http"


def annotations(deployment: Object) -> dict[str, str]:
    """Of the pod template."""
    found: dict[str, str] = deployment["spec"]["template"]["metadata"].get("annotations") or {}
    return found


def images(deployment: Object) -> dict[str, str]:
    """Of each container, by its name."""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each["image"] for each in containers}


def is_complete(deployment: Object) -> bool:
    """Whether every pod is of the present template, and available."""
    spec, status = deployment["spec"], deployment.get("status", {})
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return False
    updated: int = status.get("updatedReplicas", 0)
    wanted: int = spec.get("replicas", 1)
    everywhere: int = status.get("replicas", 0)
    available: int = status.get("availableReplicas", 0)
    return updated >= wanted and everywhere == updated and available >= updated


def why_not(deployment: Object) -> str | None:
    """Why its pods will not become those of the present template, if that is known."""
    if deployment["spec"].get("paused"):
        return "it is paused (`kubectl rollout resume`)"
    status = deployment.get("status", {})
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return None  # said of the template before
    for each in status.get("conditions", []):
        if each["type"] != "Progressing" or each["reason"] != "ProgressDeadlineExceeded":
            continue
        # The condition of the template before stays until the controller sees some progress.
        if each["lastUpdateTime"] > _changed(deployment):
            return f"{each['reason']}: {each['message']}"
    return None


def _changed(deployment: Object) -> str:
    """When the pod template was last changed, by the API server's clock."""
    managers = deployment["metadata"].get("managedFields", [])
    times = (
        each["time"]
        for each in managers
        if "time" in each and "f:template" in each.get("fieldsV1", {}).get("f:spec", {})
    )
    return max(times, default="")


def addresses(pods: Sequence[Object], container: str) -> dict[str, str]:
    """URL of the app in each pod that is ready, by the pod's name.

    Where none is, of those whose app has started: without a champion no pod turns ready, and what
    keeps it from that is for the app to say.
    """
    started = [pod for pod in pods if _has_started(pod, container)]
    ready = [pod for pod in started if _is_ready(pod)]
    return {pod["metadata"]["name"]: _url(pod, container) for pod in ready or started}


def _has_started(pod: Object, container: str) -> bool:
    statuses = pod["status"].get("containerStatuses", [])
    return any(each["name"] == container and each.get("started") for each in statuses)


def _is_ready(pod: Object) -> bool:
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True"


def _url(pod: Object, container: str) -> str:
    (port,) = (
        port["containerPort"]
        for each in pod["spec"]["containers"]
        if each["name"] == container
        for port in each["ports"]
        if port["name"] == PORT
    )
    ip = pod["status"]["podIP"]
    return f"http://[{ip}]:{port}" if ":" in ip else f"http://{ip}:{port}"
