"""Where versions are rolled out: on this machine, or in a cluster, by configuration alone."""

import os

from mlops_assets import home
from mlops_assets.resources.kubernetes_target import KubernetesTarget
from mlops_assets.resources.rollout_target import LocalTarget, RolloutTarget

TARGET = "MLOPS_ROLLOUT_TARGET"
NAMESPACE = "MLOPS_SERVING_NAMESPACE"
DEPLOYMENT = "MLOPS_SERVING_DEPLOYMENT"
IMAGE = "MLOPS_SERVING_IMAGE"


def rollout_target(retry_seconds: float = 30.0) -> RolloutTarget:
    """The target that this process is told of by its environment.

    Args:
        retry_seconds: So long an API server that is busy or away is asked again.

    Raises:
        ValueError: If it is told of none that there is, or of a cluster without a namespace.
    """
    url, environment = home.url("serving"), home.environment()
    kind = os.environ.get(TARGET) or "local"
    if kind == "local":
        return LocalTarget(url=url, environment=environment)
    if kind != "kubernetes":
        raise ValueError(f"{TARGET}={kind!r}: local or kubernetes")
    namespace = os.environ.get(NAMESPACE)
    if not namespace:
        raise ValueError(f"{TARGET}=kubernetes needs {NAMESPACE}: that of the serving Deployment")
    return KubernetesTarget(
        url=url,
        environment=environment,
        namespace=namespace,
        deployment=os.environ.get(DEPLOYMENT) or "serving",
        image=os.environ.get(IMAGE) or "",
        retry_seconds=retry_seconds,
    )
