"""What no schema says of manifests: each check gives a line for everything that is wrong.

An object may keep to its schema and do nothing: a selector that chooses no pod, a port that nobody
listens on, a probe of a path that the app does not have. Here they are held against each other, and
against the app.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from cronsim import CronSim, CronSimError

from serving.settings import unknown_variables
from tests.deploy.manifests import Object, Pods, matches, named, of, pods

#: What a pod of the serving app may take after its drain, to finish and to store the log.
FINISH_SECONDS: Final = 40
_UNITS: Final = {"": 1.0, "m": 1e-3, "k": 1e3, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}
_CLUSTER_WIDE: Final = ("Namespace", "StorageClass")
_CHOOSE_PODS: Final = ("Service", "PodDisruptionBudget", "NetworkPolicy", "Rollout")
_SCALERS: Final = ("HorizontalPodAutoscaler", "VerticalPodAutoscaler", "ScaledObject")
_NAME: Final = "app.kubernetes.io/name"
# Made by hand, as the component says.
_GIVEN: Final = "postgres-backup"


def quantity(text: Any) -> float:
    """A quantity of Kubernetes as a number: 500m, 1Gi."""
    found = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(text))
    assert found, f"{text!r} is no quantity"
    return float(found[1]) * _UNITS[found[2]]


def namespaces(objects: Sequence[Object], namespace: str) -> Iterator[str]:
    """Everything lies in the one namespace, or it lands in `default`."""
    for each in objects:
        found = each["metadata"].get("namespace")
        if found != namespace and each["kind"] not in _CLUSTER_WIDE:
            yield f"{named(each)} is in the namespace {found}, not {namespace}"


def selectors(objects: Sequence[Object]) -> Iterator[str]:
    """Whatever chooses pods or services chooses some."""
    made = pods(objects)
    for each in objects:
        kind, spec = each["kind"], each.get("spec", {})
        selector = spec.get("selector", spec.get("podSelector"))
        if kind == "Service":
            selector = {"matchLabels": selector}
        if kind in _CHOOSE_PODS and not any(matches(selector, one.labels) for one in made):
            yield f"{named(each)} chooses no pod"
        if kind == "Deployment":
            template = spec["template"]
            if not matches(spec["selector"], template["metadata"]["labels"]):
                yield f"{named(each)} does not choose its own pods"
            for spread in template["spec"].get("topologySpreadConstraints", []):
                if not matches(spread["labelSelector"], template["metadata"]["labels"]):
                    yield f"{named(each)} spreads pods that are not its own"
        if kind == "ServiceMonitor":
            chosen = [
                port["name"]
                for service in of(objects, "Service")
                if matches(spec["selector"], service["metadata"].get("labels", {}))
                for port in service["spec"]["ports"]
            ]
            for endpoint in spec["endpoints"]:
                if endpoint["port"] not in chosen:
                    yield f"{named(each)} finds no service with a port {endpoint['port']}"


def targets(objects: Sequence[Object]) -> Iterator[str]:
    """Whatever names another object names one that is there."""
    there = {(each["kind"], each["metadata"]["name"]) for each in objects}
    for each in objects:
        spec = each.get("spec", {})
        named_ones = []
        if each["kind"] in _SCALERS:
            named_ones.append(spec.get("scaleTargetRef") or spec["targetRef"])
        if each["kind"] == "Rollout":
            named_ones.append(spec["workloadRef"])
            analysis = spec["strategy"]["canary"]["analysis"]["templates"]
            named_ones += [
                {"kind": "AnalysisTemplate", "name": t["templateName"]} for t in analysis
            ]
        if each["kind"] == "RoleBinding":
            named_ones.append(each["roleRef"])
        for one in named_ones:
            if (one["kind"], one["name"]) not in there:
                yield f"{named(each)} names {one['kind']} {one['name']}, which is not there"
        for rule in each.get("rules", []) if each["kind"] == "Role" else []:
            if "secrets" in rule["resources"] or "*" in rule["resources"] + rule["verbs"]:
                yield f"{named(each)} may do too much"
            for name in rule.get("resourceNames", [None]):
                if rule["resources"] == ["deployments"] and ("Deployment", name) not in there:
                    yield f"{named(each)} is about Deployment {name}, which is not there"


def ports(objects: Sequence[Object]) -> Iterator[str]:
    """Every port that is named is listened on."""
    made, services = pods(objects), {s["metadata"]["name"]: s for s in of(objects, "Service")}
    for name, service in services.items():
        chosen = [
            p for p in made if matches({"matchLabels": service["spec"]["selector"]}, p.labels)
        ]
        for port in service["spec"]["ports"]:
            wanted = port.get("targetPort", port["port"])
            if not any(
                wanted in (p.get("name"), p["containerPort"]) for c in chosen for p in c.ports
            ):
                yield f"Service {name} sends to port {wanted}, which no container has"
    for each in made:
        for container in each.containers:
            listened = [p for port in container.get("ports", []) for p in port.values()]
            for probe, what in container.items():
                if not probe.endswith("Probe"):
                    continue
                wanted = (what.get("httpGet") or what["tcpSocket"])["port"]
                if wanted not in listened:
                    yield f"{each.owner}: {probe} asks port {wanted}, which the container has not"
    for policy in of(objects, "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            for port in rule.get("ports", []):
                chosen = [p for p in made if matches(policy["spec"]["podSelector"], p.labels)]
                if not any(port["port"] in p.values() for c in chosen for p in c.ports):
                    yield f"{named(policy)} opens port {port['port']}, which no pod has"
    for name, port in _backends(objects):
        service = services.get(name, {"spec": {"ports": []}})
        if not any(port in (p["name"], p["port"]) for p in service["spec"]["ports"]):
            yield f"a route leads to Service {name} port {port}, which is not there"


def _backends(objects: Sequence[Object]) -> Iterator[tuple[str, Any]]:
    for ingress in of(objects, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                port = path["backend"]["service"]["port"]
                yield path["backend"]["service"]["name"], port.get("name") or port["number"]
    for route in of(objects, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule.get("backendRefs", []):
                yield backend["name"], backend["port"]


def paths(objects: Sequence[Object], routes: Sequence[str]) -> Iterator[str]:
    """Every path that is asked or has a route is one of the app's; the private ones have none."""
    for each in pods(objects):
        for container in each.containers:
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                path = container.get(probe, {}).get("httpGet", {}).get("path")
                if path is not None and path not in routes:
                    yield f"{each.owner}: {probe} asks {path}, which the app does not have"
    prefixes = [
        path["path"]
        for ingress in of(objects, "Ingress")
        for rule in ingress["spec"]["rules"]
        for path in rule["http"]["paths"]
    ] + [
        match["path"]["value"]
        for route in of(objects, "HTTPRoute")
        for rule in route["spec"]["rules"]
        for match in rule.get("matches", [])
    ]
    for prefix in prefixes:
        reached = [r for r in routes if r == prefix or r.startswith(prefix.rstrip("/") + "/")]
        if not reached:
            yield f"a route leads to {prefix}, which the app does not have"
        if {"/metrics", "/docs"} & set(reached):
            yield f"a route leads from outside to {', '.join(reached)}"
    for monitor in of(objects, "ServiceMonitor"):
        for endpoint in monitor["spec"]["endpoints"]:
            if endpoint["path"] not in routes:
                yield f"{named(monitor)} scrapes {endpoint['path']}, which the app does not have"


def replicas(objects: Sequence[Object]) -> Iterator[str]:
    """Autoscalers can scale, no Deployment takes replicas from them, and the quota has room."""
    most = 1
    for each in objects:
        spec = each.get("spec", {})
        predictor = spec.get("predictor", {}) if each["kind"] == "InferenceService" else {}
        low = spec.get("minReplicas", spec.get("minReplicaCount", predictor.get("minReplicas")))
        high = spec.get("maxReplicas", spec.get("maxReplicaCount", predictor.get("maxReplicas")))
        if low is None or high is None:
            continue
        most = max(most, high)
        if low > high:
            yield f"{named(each)} wants at least {low} and at most {high} replicas"
        # One that sleeps by a schedule says how many there are when it is awake.
        awake = [
            int(trigger["metadata"]["desiredReplicas"])
            for trigger in spec.get("triggers", [])
            if trigger["type"] == "cron"
        ]
        if min([low, *awake] if low else awake or [low]) < 2:
            yield f"{named(each)} lets one replica answer alone"
    for each in of(objects, "Deployment"):
        if "replicas" in each["spec"]:
            yield f"{named(each)} sets replicas, which are the autoscaler's"
    if not (quotas := list(of(objects, "ResourceQuota"))):
        return
    hard = quotas[0]["spec"]["hard"]
    serving = next(each for each in pods(objects) if each.labels.get(_NAME) == "serving")
    for side in ("requests", "limits"):
        for what in ("cpu", "memory"):
            each_asks = (c["resources"].get(side, {}).get(what, 0) for c in serving.containers)
            one = sum(map(quantity, each_asks))
            if one * (most + 1) > quantity(hard[f"{side}.{what}"]):
                yield f"{named(quotas[0])}: {side}.{what} is too little for {most + 1} replicas"


def schedules(objects: Sequence[Object]) -> Iterator[str]:
    """Cron expressions are some."""
    for job in of(objects, "CronJob"):
        try:
            CronSim(job["spec"]["schedule"], datetime(2026, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            yield f"{named(job)}: {job['spec']['schedule']!r} is no schedule: {error}"
        if job["spec"].get("concurrencyPolicy") != "Forbid":
            yield f"{named(job)} may run twice at once"


def locked_down(objects: Sequence[Object]) -> Iterator[str]:
    """No pod may do what it need not: the restricted standard, and a read-only file system."""
    for each in pods(objects):
        of_pod = each.spec.get("securityContext", {})
        if of_pod.get("runAsNonRoot") is not True or not of_pod.get("runAsUser"):
            yield f"{each.owner} may run as root"
        if of_pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{each.owner} has no seccomp profile"
        if each.spec.get("automountServiceAccountToken") is not False:
            yield f"{each.owner} gets a token of the API server"
        if each.spec.get("enableServiceLinks") is not False:
            yield f"{each.owner} gets variables of services, which look like settings"
        for container in each.containers:
            where, own = f"{each.owner}/{container['name']}", container.get("securityContext", {})
            if own.get("readOnlyRootFilesystem") is not True:
                yield f"{where} may write to its root file system"
            if own.get("allowPrivilegeEscalation") is not False:
                yield f"{where} may gain privileges"
            if own.get("capabilities", {}).get("drop") != ["ALL"]:
                yield f"{where} keeps capabilities"
            resources = container.get("resources", {})
            for side in ("requests", "limits"):
                if not {"cpu", "memory"} <= resources.get(side, {}).keys():
                    yield f"{where} has no {side} of processor and memory"


def images(objects: Sequence[Object], ours: Sequence[str]) -> Iterator[str]:
    """Every image is pinned, but for ours, which `make deploy` pins."""
    for each in pods(objects):
        for container in each.containers:
            image = container["image"]
            _, _, tag = image.rpartition("/")[2].partition(":")
            if image not in ours and "@sha256:" not in image and tag in ("", "latest"):
                yield f"{each.owner}/{container['name']}: {image} may be another one tomorrow"


def references(objects: Sequence[Object]) -> Iterator[str]:
    """Volumes, settings and secrets that a pod asks for are there."""
    configs = {each["metadata"]["name"] for each in of(objects, "ConfigMap")}
    secrets = {each["metadata"]["name"] for each in of(objects, "Secret")} | {_GIVEN}
    secrets |= {each["spec"]["target"]["name"] for each in of(objects, "ExternalSecret")}
    for each in pods(objects):
        volumes = {volume["name"]: volume for volume in each.spec.get("volumes", [])}
        used = [v["secret"]["secretName"] for v in volumes.values() if "secret" in v]
        for container in each.containers:
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    yield f"{each.owner} mounts {mount['name']}, which is no volume of it"
            for source in container.get("envFrom", []):
                used += [source["secretRef"]["name"]] if "secretRef" in source else []
                name = source.get("configMapRef", {}).get("name")
                if name is not None and name not in configs:
                    yield f"{each.owner} reads ConfigMap {name}, which is not there"
        for name in set(used) - secrets:
            yield f"{each.owner} reads Secret {name}, which is not there"


def environment(objects: Sequence[Object], pod: Pods) -> dict[str, str]:
    """What a pod finds in its environment of ConfigMaps and plain variables."""
    configs = {each["metadata"]["name"]: each["data"] for each in of(objects, "ConfigMap")}
    found: dict[str, str] = {}
    for container in pod.containers:
        for source in container.get("envFrom", []):
            found |= configs.get(source.get("configMapRef", {}).get("name"), {})
        found |= {v["name"]: v["value"] for v in container.get("env", []) if "value" in v}
    return found


def settings(objects: Sequence[Object]) -> Iterator[str]:
    """The app knows its variables, and its pod has the time and the room that they ask for."""
    for each in pods(objects):
        if each.labels.get(_NAME) != "serving":
            continue
        given = environment(objects, each)
        yield from (f"{each.owner}: {problem}" for problem in unknown_variables(given))
        grace = each.spec["terminationGracePeriodSeconds"]
        if grace < float(given["SERVING_DRAIN_SECONDS"]) + FINISH_SECONDS:
            yield f"{each.owner} is killed after {grace} s, while it still drains and stores"
        (state,) = (v for v in each.spec["volumes"] if v["name"] == "state")
        spool = float(given["SERVING_LOG_SPOOL_MB"]) * 2**20 * int(given.get("SERVING_WORKERS", 1))
        if quantity(state["emptyDir"]["sizeLimit"]) < 1.5 * spool:
            yield f"{each.owner} has too little room for the spool and the cache"
