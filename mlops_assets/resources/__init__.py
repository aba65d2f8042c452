"""What the graph talks to, each behind one small class: storage, dbt, MLflow, the serving app."""

from mlops_assets.resources.dbt import Dbt
from mlops_assets.resources.kubernetes_target import KubernetesTarget
from mlops_assets.resources.mlflow import MlflowTracking
from mlops_assets.resources.rollout_target import LocalTarget, RolloutTarget
from mlops_assets.resources.storage import StorageRoot

__all__ = [
    "Dbt",
    "KubernetesTarget",
    "LocalTarget",
    "MlflowTracking",
    "RolloutTarget",
    "StorageRoot",
]
