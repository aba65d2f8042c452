"""What the work on a use case needs of a cluster, stage by stage.

Data and their size decide it, so it stands in the spec and not in the cluster's settings. It
changes no model. Outside of a cluster it says nothing.
"""

from typing import Annotated, Literal

from pydantic import Field

from mlops_assets.lib.spec.model import Model

Stage = Literal[
    "sources",
    "raw",
    "validated",
    "features",
    "batch_drift",
    "training_set",
    "candidates",
    "evaluation",
    "registered_version",
    "promotion",
    "rollout",
    "predictions",
    "live_drift",
    "live_labels",
    "live_performance",
]


class Pod(Model):
    """The size of a pod.

    Attributes:
        cpu: Cores that are kept for it; it may use more where there are.
        memory_gib: GiB that are kept for it; it is ended when it takes more.
    """

    cpu: Annotated[float, Field(gt=0, le=1024)]
    memory_gib: Annotated[float, Field(gt=0, le=65536)]

    def resources(self) -> dict[str, dict[str, str]]:
        """The same as Kubernetes writes it."""
        memory = f"{round(self.memory_gib * 1024)}Mi"
        kept = {"cpu": f"{round(self.cpu * 1000)}m", "memory": memory}
        return {"requests": kept, "limits": {"memory": memory}}


Pods = dict[Stage, Pod]


def largest(pods: list[Pod]) -> Pod:
    """One that has room for the work of each of several, one after the other."""
    return Pod(cpu=max(p.cpu for p in pods), memory_gib=max(p.memory_gib for p in pods))
