"""What the exporter is made of: everything that it asks, and how often."""

from collections.abc import Callable, Collection, Iterable, Iterator

import dagster as dg

from mlops_assets.exporter.assets import Assets
from mlops_assets.exporter.collector import SLOW_SECONDS, Part
from mlops_assets.exporter.decisions import Decisions
from mlops_assets.exporter.landed import Landed
from mlops_assets.exporter.live import Live
from mlops_assets.exporter.runs import Runs
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage


def of_dagster(
    instance: dg.DagsterInstance, definitions: dg.Definitions, use_cases: Collection[str]
) -> Iterator[Part]:
    """What the instance tells of the jobs and assets of the graph."""
    jobs = [job.name for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")]
    yield Part("runs", Runs(instance, jobs))
    checks = definitions.resolve_asset_graph().asset_check_keys
    yield Part("assets", Assets(instance, use_cases, checks))


def of_storage(
    store: Storage,
    specs: Iterable[UseCase],
    environment: str,
    alias: Callable[[str], str | None],
) -> Iterator[Part]:
    """What the storage root, and MLflow, tell of each use case.

    Args:
        store: The storage root.
        specs: Of the use cases.
        environment: Whose desired state is shown.
        alias: Gives the version that MLflow calls champion, by the name of the model.
    """
    for spec in specs:
        landed = Landed(store, spec.name)
        decisions = Decisions(store, landed, environment, alias)
        live = Live(store, landed, spec)
        yield Part("batches", landed, use_case=spec.name)
        yield Part("ledger", decisions.ledger, use_case=spec.name)
        yield Part("desired_state", decisions.desired, use_case=spec.name)
        yield Part("delivery", decisions.delivery, SLOW_SECONDS, use_case=spec.name)
        yield Part("drift", live.drift, SLOW_SECONDS, use_case=spec.name)
        yield Part("performance", live.performance, SLOW_SECONDS, use_case=spec.name)
        yield Part("alert_levels", live.levels, SLOW_SECONDS, use_case=spec.name)
        yield Part("mlflow", decisions.mlflow, SLOW_SECONDS, use_case=spec.name)
