"""One Deployment as the API server of a cluster has it: read, applied to, watched.

The API server may be busy, restarted or cut off at any time. What can be asked again is asked
again, for a bounded time; a watch that drops is taken up anew. What it refuses is said with verb,
resource and its own words.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from mlops_assets.resources.rollout_target import TargetError

#: Where it says what a rollout may do.
ROLE = "deploy/kubernetes/base/rollout-role.yaml"
#: The longest pause between two requests, and the first.
LONGEST_PAUSE_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.1
_REQUEST_SECONDS = 10.0
_BUSY = (429, 500, 502, 503, 504)
_APPLY = "application/apply-patch+yaml"

Object = dict[str, Any]


class ConflictError(TargetError):
    """Somebody else owns a field, or has changed the object meanwhile.

    Attributes:
        causes: Of each field that is owned: ``field`` and ``message``, which names the manager;
            none if the object was changed.
    """

    def __init__(self, said: str, causes: list[dict[str, str]]) -> None:
        super().__init__(said)
        self.causes = causes


class ApiServer:
    """The API server of the cluster, for one Deployment.

    Attributes:
        namespace: Of the Deployment.
        name: Of the Deployment.
        retry_seconds: So long a request is asked again.
    """

    def __init__(self, namespace: str, name: str, retry_seconds: float) -> None:
        from kubernetes import client, config

        self.namespace = namespace
        self.name = name
        self.retry_seconds = retry_seconds
        settings = client.Configuration()
        file = os.environ.get("KUBECONFIG")
        try:
            if file is None and "KUBERNETES_SERVICE_HOST" in os.environ:
                config.load_incluster_config(client_configuration=settings)
            else:
                config.load_kube_config(config_file=file, client_configuration=settings)
        except config.ConfigException as error:
            raise TargetError(f"no cluster is configured: {error}") from error
        # Asked again below, which knows what may be and for how long.
        settings.retries = False
        api = client.ApiClient(settings)
        self._apps, self._core = client.AppsV1Api(api), client.CoreV1Api(api)

    def deployment(self) -> Object:
        """The Deployment as it is now.

        Raises:
            TargetError: If the API server does not give it.
        """
        about = {"name": self.name, "namespace": self.namespace}
        return self._object("get", "deployments", self._apps.read_namespaced_deployment, **about)

    def apply(self, body: Object, manager: str, *, force: bool = False) -> Object:
        """Say what of the Deployment is a manager's, and how it is to be (server-side apply).

        Args:
            body: The fields and nothing else; fields that the manager named before and does not
                name now are removed.
            manager: Whose they are from now on.
            force: Take them from others.

        Returns:
            The Deployment as it is then.

        Raises:
            ConflictError: If others own a field with another value, or the ``resourceVersion`` of
                the body is not the Deployment's any more.
            TargetError: If the API server does not do it.
        """
        said = {"apiVersion": "apps/v1", "kind": "Deployment", **body}
        return self._object(
            "patch",
            "deployments",
            self._apps.patch_namespaced_deployment,
            name=self.name,
            namespace=self.namespace,
            body={**said, "metadata": {"name": self.name, **body.get("metadata", {})}},
            field_manager=manager,
            force=force,
            _content_type=_APPLY,
        )

    def pods(self, deployment: Object) -> list[Object]:
        """The pods that a Deployment chooses, without those that are on their way out.

        Raises:
            TargetError: If the API server does not give them.
        """
        labels = deployment["spec"]["selector"].get("matchLabels", {})
        found = self._object(
            "list",
            "pods",
            self._core.list_namespaced_pod,
            namespace=self.namespace,
            label_selector=",".join(f"{key}={value}" for key, value in labels.items()),
        )
        return [pod for pod in found["items"] if "deletionTimestamp" not in pod["metadata"]]

    def changes(self, since: str, seconds: float) -> Iterator[Object]:
        """Watch the Deployment; ends without a word when the watch does.

        Args:
            since: The ``resourceVersion`` that is known.
            seconds: At most.

        Yields:
            The Deployment after each change.

        Raises:
            TargetError: If it was removed, or the API server lets nobody watch it.
        """
        from urllib3.exceptions import HTTPError

        try:
            response = self._ask(
                "watch",
                "deployments",
                self._apps.list_namespaced_deployment,
                namespace=self.namespace,
                # The role names this Deployment: the API server allows a watch of it alone.
                field_selector=f"metadata.name={self.name}",
                resource_version=since,
                watch=True,
                timeout_seconds=max(1, round(seconds)),
                _request_timeout=(_REQUEST_SECONDS, max(1.0, seconds)),
            )
        except ConflictError:
            return  # too old: 410
        try:
            for line in response:
                event = json.loads(line)
                if event["type"] == "DELETED":
                    raise TargetError(f"Deployment {self} was removed")
                if event["type"] == "ERROR":
                    return  # too old, as a rule: what it is now is read anew
                yield event["object"]
        except (HTTPError, OSError, ValueError):
            return  # cut off, in the middle of a line or between two
        finally:
            response.close()

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    def _object(self, verb: str, resource: str, call: Callable[..., Any], **given: Any) -> Object:
        found: Object = json.loads(self._ask(verb, resource, call, **given).data)
        return found

    def _ask(self, verb: str, resource: str, call: Callable[..., Any], **given: Any) -> Any:
        """One request, again and again while the API server is busy or away: all are idempotent."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        longest = min(_REQUEST_SECONDS, self.retry_seconds)
        given = {"_request_timeout": longest, "_preload_content": False, **given}
        started, pause = time.monotonic(), FIRST_PAUSE_SECONDS
        while True:
            wanted = pause
            try:
                return call(**given)
            except ApiException as error:
                problem = self._problem(verb, resource, error)
                if error.status not in _BUSY:
                    raise problem from error
                after = (error.headers or {}).get("Retry-After", "")
                wanted = float(after) if after.isdigit() else pause
            except (HTTPError, OSError) as error:
                problem = TargetError(f"the API server did not answer: {error}")
            if time.monotonic() + wanted > started + self.retry_seconds:
                raise problem
            time.sleep(wanted)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _problem(self, verb: str, resource: str, error: Any) -> TargetError:
        """What a refusal says, for a person."""
        asked = f"{verb} {resource} in namespace {self.namespace}"
        try:
            status = json.loads(error.body or b"{}")
        except ValueError:
            status = {}
        said = status.get("message") or error.reason
        if error.status in (401, 403):
            told = f"may not {asked} ({error.status}: {said})"
            return TargetError(f"the rollout {told}; {ROLE} says what Dagster's runs may do")
        if error.status == 404:
            return TargetError(f"there is no Deployment {self}: {said}")
        said = f"the API server answered {error.status} to {asked}: {said}"
        if error.status in (409, 410):
            return ConflictError(said, (status.get("details") or {}).get("causes") or [])
        return TargetError(said)
