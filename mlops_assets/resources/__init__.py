"""What the graph talks to: storage, MLflow and the serving app, each behind one small class."""

from mlops_assets.resources.kubernetes_target import KubernetesTarget
from mlops_assets.resources.mlflow import MlflowTracking
from mlops_assets.resources.rollout_target import LocalTarget, RolloutTarget
from mlops_assets.resources.storage import StorageRoot

__all__ = ["KubernetesTarget", "LocalTarget", "MlflowTracking", "RolloutTarget", "StorageRoot"]
