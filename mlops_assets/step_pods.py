"""The pods that work on a job, where runs are pods of a cluster (``dagster-k8s``).

A run is one pod as a rule, in which its steps share their imports; it is as large as the largest of
them needs. A retrain may have a pod for each step in its place, so that candidates are trained side
by side.
"""

import os
from collections.abc import Sequence
from typing import Any

import dagster as dg

from mlops_assets.lib.spec.pods import Pod, largest
from mlops_assets.lib.spec.use_case import UseCase

VARIABLE = "MLOPS_RETRAIN_PODS"
RUN, STEP = "run", "step"
CONFIG_TAG = "dagster-k8s/config"
STAGE_TAG = "mlops/stage"


def in_one_pod(spec: UseCase, assets: Sequence[dg.AssetsDefinition]) -> dict[str, Any]:
    """Tags of a job whose runs are one pod each."""
    sizes = [size for asset in assets if (size := _size(spec, asset))]
    return {CONFIG_TAG: _container(largest(sizes))} if sizes else {}


def in_many_pods(
    spec: UseCase, assets: Sequence[dg.AssetsDefinition]
) -> dg.ExecutorDefinition | None:
    """The executor that gives each step of a retrain a pod, where this deployment wants that.

    Raises:
        ValueError: If the variable says neither ``run`` nor ``step``.
    """
    said = os.environ.get(VARIABLE) or RUN
    if said not in (RUN, STEP):
        raise ValueError(f"{VARIABLE}={said!r}: {RUN} (one pod a run) or {STEP} (one a step)")
    if said == RUN:
        return None
    from dagster_k8s import k8s_job_executor

    sizes = {asset.op.name: _size(spec, asset) for asset in assets}
    by_step = {name: _container(size) for name, size in sizes.items() if size}
    return k8s_job_executor.configured({"per_step_k8s_config": by_step}, name="k8s")


def _size(spec: UseCase, asset: dg.AssetsDefinition) -> Pod | None:
    stages = {tags.get(STAGE_TAG, "") for tags in asset.tags_by_key.values()}
    sizes = [size for stage, size in spec.pods.items() if stage in stages]
    return largest(sizes) if sizes else None


def _container(size: Pod) -> dict[str, Any]:
    return {"container_config": {"resources": size.resources()}}
