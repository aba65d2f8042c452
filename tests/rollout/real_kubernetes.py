"""A Deployment in the real cluster that ``KUBECONFIG`` names, in a namespace of its own.

Its pods pause and answer nothing: what is tried is what the cluster does with the pod template.
Needed: a user who may make and remove namespaces.
"""

import threading
import uuid
from typing import Any

from tests.rollout.fake_kubernetes import NAME, in_template

Object = dict[str, Any]


class RealKubernetes:
    """The same as ``FakeKubernetes``, for real.

    Attributes:
        least: The fewest pods that were ready at once, looked at twice a second.
    """

    images = ("registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.10")

    def __init__(self) -> None:
        from kubernetes import client, config

        config.load_kube_config()
        self._apps, self._core = client.AppsV1Api(), client.CoreV1Api()
        self.namespace = f"mlops-test-{uuid.uuid4().hex[:8]}"
        self.least = 3
        self._over = threading.Event()
        self._looking = threading.Thread(target=self._look)

    def __enter__(self) -> "RealKubernetes":
        self._core.create_namespace({"metadata": {"name": self.namespace}})
        container = {"name": NAME, "image": self.images[0]}
        template = {"metadata": {"labels": {"app": NAME}}, "spec": {"containers": [container]}}
        update = {"maxUnavailable": 0, "maxSurge": 1}
        body: Object = {
            "metadata": {"name": NAME},
            "spec": {
                "replicas": 3,
                "progressDeadlineSeconds": 30,
                "selector": {"matchLabels": {"app": NAME}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": update},
                "template": template,
            },
        }
        self._apps.create_namespaced_deployment(self.namespace, body, field_manager="kubectl")
        self._wait_for_all()
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._looking.join()
        self._core.delete_namespace(self.namespace)

    def deployment(self) -> Object:
        """The Deployment as the API gives it."""
        found = self._apps.read_namespaced_deployment(NAME, self.namespace)
        raw: Object = self._apps.api_client.sanitize_for_serialization(found)
        return raw

    def hand_over_images(self) -> None:
        """Leave images to rollouts, with another one than before, as docs/rollout.md says."""
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME}}
        about = {"field_manager": "mlops-assets-image", "force": True}
        about["_content_type"] = "application/apply-patch+yaml"
        body |= in_template(self.images[1])
        self._apps.patch_namespaced_deployment(NAME, self.namespace, body, **about)

    def annotate(self, key: str, value: str) -> None:
        """Somebody else edits an annotation of the pod template."""
        body = {"spec": {"template": {"metadata": {"annotations": {key: value}}}}}
        about = {"field_manager": "kubectl-edit"}
        self._apps.patch_namespaced_deployment(NAME, self.namespace, body, **about)

    def scale(self, replicas: int) -> None:
        """The autoscaler wants so many pods."""
        body = {"spec": {"replicas": replicas}}
        about = {"field_manager": "autoscaler"}
        self._apps.patch_namespaced_deployment_scale(NAME, self.namespace, body, **about)

    def break_readiness(self) -> None:
        """No new pod turns ready from now on."""
        probe = {"httpGet": {"path": "/", "port": 1}}
        spec = {"containers": [{"name": NAME, "readinessProbe": probe}]}
        body, about = {"spec": {"template": {"spec": spec}}}, {"field_manager": "kubectl"}
        self._apps.patch_namespaced_deployment(NAME, self.namespace, body, **about)

    def _wait_for_all(self) -> None:
        for _ in range(240):
            if self.deployment()["status"].get("availableReplicas") == 3:
                return
            self._over.wait(0.5)
        raise AssertionError("the pods of the test did not start")

    def _look(self) -> None:
        while not self._over.wait(0.5):
            ready = self.deployment()["status"].get("availableReplicas", 0)
            self.least = min(self.least, ready)
