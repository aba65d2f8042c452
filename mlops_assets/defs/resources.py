"""What this deployment talks to; by default everything is on this machine."""

import dagster as dg

from mlops_assets.executor import metered_executor
from mlops_assets.home import storage_root
from mlops_assets.lib.features.dbt_project import DBT
from mlops_assets.resources import Dbt, StorageRoot
from mlops_assets.resources.mlflow import tracking
from mlops_assets.resources.targets import rollout_target


@dg.definitions
def resources() -> dg.Definitions:
    """The resources, and the executor of every run."""
    return dg.Definitions(
        resources={
            "storage": StorageRoot(root=storage_root()),
            "mlflow": tracking(),
            "dbt": Dbt(executable=str(DBT)),
            "target": rollout_target(),
        },
        executor=metered_executor,
    )
