"""Versions that serve in the pods of a Deployment: the place of a rollout in a cluster.

Pods follow the desired state in the store by themselves, so a canary needs nothing of the cluster.
When the champion changes, its digest goes into the pod template as well: the Deployment's history
shows it, every pod is made anew with it, and a version that new pods do not get ready with is taken
back while the old ones still answer.
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from mlops_assets.lib.digests import short
from mlops_assets.lib.records.history import Entry
from mlops_assets.lib.records.ledger import LedgerError, holds
from mlops_assets.lib.rollout_analysis.counters import Counters
from mlops_assets.resources.api_server import ApiServer, ConflictError, Object
from mlops_assets.resources.deployment import addresses, annotations, images, is_complete, why_not
from mlops_assets.resources.rollout_target import (
    POLL_SECONDS,
    LocalTarget,
    Roles,
    TargetError,
    problem,
)

PREFIX = "mlops-assets"
# A watch is taken up anew after this time, whatever it has shown.
WATCH_SECONDS = 60.0
# How often fields are applied that were changed between being read and being applied.
ATTEMPTS = 5


class KubernetesTarget(LocalTarget):
    """A Deployment: asked for predictions at its Service, and for all else at each of its pods.

    Each use case has a field manager of its own, so that one's rollout leaves the other's alone.

    Attributes:
        namespace: Of the Deployment.
        deployment: Its name, and that of its container.
        image: That the container gets together with the next champion; somebody else's without.
        patience: Seconds past the Deployment's own progress deadline after which a cluster that
            says nothing new has failed.
        retry_seconds: So long an API server that is busy or away is asked again.
    """

    namespace: str
    deployment: str = "serving"
    image: str = ""
    patience: float = 30.0
    retry_seconds: float = 30.0

    def apply(self, use_case: str, roles: Roles, head: str) -> None:
        """Put the champion's digest and the ledger's head into the pod template.

        Only where the champion is another one: a canary moves no pod. Without a champion nothing
        is done, for a new pod would have nothing to serve.
        """
        if "champion" not in roles:
            return
        server, digest, force = self._server(), roles["champion"]["digest"], False
        for left in reversed(range(ATTEMPTS)):
            found = server.deployment()
            if annotations(found).get(_key(use_case, "champion-digest")) == digest:
                return
            fields = self._fields(use_case, found, digest, head)
            try:
                server.apply(fields, f"{PREFIX}-{use_case}", force=force)
                return
            except ConflictError as conflict:
                force = bool(conflict.causes) and all(map(_is_ours, conflict.causes))
                is_another_s = conflict.causes and not force
                if is_another_s or not left:
                    raise

    def _fields(self, use_case: str, found: Object, digest: str, head: str) -> Object:
        """All that is the rollout's: what is not named here stays as others want it."""
        template: Object = {
            "metadata": {
                "annotations": {
                    _key(use_case, "champion-digest"): digest,
                    _key(use_case, "ledger-head"): head,
                }
            }
        }
        metadata: Object = {"resourceVersion": found["metadata"]["resourceVersion"]}
        served = annotations(found).get(_key(use_case, "champion-digest"))
        # The first champion that is noted came before there was anything to go back to.
        if self.image and served is not None:
            key = _key(use_case, "before")
            before = json.loads(found["metadata"].get("annotations", {}).get(key, "{}"))
            image = self.image
            if before.get("digest") == digest:
                # Whoever goes back gets the image that it served with, and leaves none behind.
                image = before["image"]
            else:
                before = {"digest": served, "image": images(found)[self.deployment]}
                metadata["annotations"] = {key: json.dumps(before)}
            template["spec"] = {"containers": [{"name": self.deployment, "image": image}]}
        return {"metadata": metadata, "spec": {"template": template}}

    def settle(self, use_case: str, roles: Roles) -> None:
        """Watch the Deployment until every pod is a new one, and ready."""
        server, digest = self._server(), roles["champion"]["digest"]
        status, heard = None, time.monotonic()
        while True:
            found = server.deployment()
            deadline = found["spec"].get("progressDeadlineSeconds", 600) + self.patience
            left = heard + deadline - time.monotonic()
            if left < 0:
                raise TargetError(f"Deployment {server}: nothing has changed for {deadline:g} s")
            changes = server.changes(found["metadata"]["resourceVersion"], min(left, WATCH_SECONDS))
            for each in chain([found], changes):
                wanted = annotations(each).get(_key(use_case, "champion-digest"))
                if wanted != digest:
                    raise TargetError(
                        f"Deployment {server}: its pods are now made for "
                        f"{short(wanted or 'no champion')} of {use_case}, not for {short(digest)}"
                    )
                if said := why_not(each):
                    raise TargetError(f"Deployment {server}: {said}{self._held_up(server, each)}")
                if is_complete(each):
                    return
                if each["status"] != status:
                    status, heard = each["status"], time.monotonic()
            time.sleep(POLL_SECONDS)

    def _held_up(self, server: ApiServer, found: Object) -> str:
        waiting = (
            f"; pod {pod['metadata']['name']}: {state['reason']}: {state.get('message', '')}"
            for pod in server.pods(found)
            for each in pod["status"].get("containerStatuses", [])
            if (state := each["state"].get("waiting"))
        )
        return next(waiting, "")

    def model(self, use_case: str) -> dict[str, Any]:
        """What all pods that answer serve alike; see ``alike``."""
        pods = self._pods()
        return alike({name: pod.model(use_case) for name, pod in pods.items()})

    def counters(self, use_case: str) -> dict[str, Counters]:
        """What each pod that answers has counted."""
        pods = self._pods()
        return {name: pod.counters(use_case)[pod.url] for name, pod in pods.items()}

    def deployed(self, use_case: str) -> str | None:
        """See ``RolloutTarget``.

        Raises:
            TargetError: If the API server does not answer.
        """
        return annotations(self._server().deployment()).get(_key(use_case, "champion-digest"))

    def drift(self, use_case: str, roles: Roles, entries: Sequence[Entry]) -> str | None:
        """See ``RolloutTarget``.

        Raises:
            LedgerError: If the ledger lacks the entry that the pod template names.
            TargetError: If the API server does not answer.
        """
        server = self._server()
        named = annotations(server.deployment())
        head = named.get(_key(use_case, "ledger-head"))
        if head is not None and not holds(entries, head):
            raise LedgerError(
                f"{use_case} ledger, entry {head.partition(':')[0]}: is not the one that the pod "
                f"template of Deployment {server} names: the ledger was cut off or rewritten"
            )
        desired = roles.get("champion", {}).get("digest")
        found = named.get(_key(use_case, "champion-digest"))
        if desired is None or found == desired:
            return None
        return (
            f"the pod template of Deployment {server} names {short(found or 'no champion')} of "
            f"{use_case}, and the desired state {short(desired)}"
        )

    def _server(self) -> ApiServer:
        return ApiServer(self.namespace, self.deployment, self.retry_seconds)

    def _pods(self) -> dict[str, LocalTarget]:
        """The pods that answer, by name, each as an app of its own.

        Raises:
            TargetError: If there is none.
        """
        server = self._server()
        found = addresses(server.pods(server.deployment()), self.deployment)
        if not found:
            raise TargetError(
                f"the app of no pod of Deployment {server} has started "
                f"(`kubectl --namespace {self.namespace} get pods` shows why)"
            )
        return {
            name: LocalTarget(url=url, environment=self.environment) for name, url in found.items()
        }


def alike(models: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What several pods serve, as if they were one app.

    A role that they serve alike is one of it. One that a pod has no more, and says why, is none;
    one that they are still on their way to, or back from, has no digest yet.

    Args:
        models: What each pod's ``/model`` says, by its name.
    """
    first, *_ = models.values()
    roles = {}
    for role in sorted({role for model in models.values() for role in model["roles"]}):
        found = [model["roles"].get(role) for model in models.values()]
        (present, *_) = filter(None, found)
        told = {each and (each["digest"], each["percent"]) for each in found}
        failed = any(role not in m["roles"] and problem(m) for m in models.values())
        if len(told) == 1:
            roles[role] = present
        elif not failed:
            roles[role] = {**present, "digest": None}
    said = [f"pod {name}: {what}" for name, m in models.items() if (what := problem(m))]
    return {**first, "roles": roles, "on_trial": {}, "problem": "; ".join(said) or None}


def _key(use_case: str, what: str) -> str:
    return f"{PREFIX}/{use_case}-{what}"


def _is_ours(cause: Mapping[str, str]) -> bool:
    """Whether a conflict is about our annotations, or with the rollout of another use case."""
    is_annotation = f"annotations.{PREFIX}/" in cause.get("field", "")
    return is_annotation or bool(re.search(f'with "{PREFIX}-', cause.get("message", "")))
