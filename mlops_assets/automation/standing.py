"""What can be wrong without any run: the ledger, a stale asset, a worse model, what sensors see."""

from datetime import datetime

import dagster as dg
from dagster._core.definitions.freshness import FreshnessState

from mlops_assets.alerting.alert import Alert, Seen
from mlops_assets.alerting.decisions import broken, decisions
from mlops_assets.alerting.performance import DAYS, performance
from mlops_assets.lib.performance import records
from mlops_assets.lib.records.history import Entry, champion
from mlops_assets.lib.records.ledger import Ledger, LedgerError
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.stages import promotion, rollout
from mlops_assets.stages.checks import asset_key

# Runs that were killed leave answers that never came.
PLANNED = 20


def ledger_and_model(
    spec: UseCase, store: Storage, ledger: Ledger, now: datetime, ui: str
) -> tuple[Seen, list[Entry]]:
    """What the ledger says, and how its champion does.

    Returns:
        What was seen, and the ledger's entries: none where its chain is broken.
    """
    page = asset_page(ui, spec, promotion.STAGE)
    try:
        entries = ledger.verify()
    except LedgerError as error:
        return broken(spec.name, error, page), []
    crowned = champion(entries)
    live = asset_page(ui, spec, "live_performance")
    bundle = None if crowned is None else crowned["bundle"]
    judged = performance(spec, records.latest(store, spec.name, DAYS), bundle, live)
    return decisions(spec.name, entries, now, page) + judged, entries


def stale(instance: dg.DagsterInstance, spec: UseCase, ui: str) -> Seen:
    """The assets that Dagster finds older than their freshness policies allow."""
    limits = {stage: days for stage, days in spec.alerts.stale_days.model_dump().items() if days}
    states = instance.get_freshness_state_records([asset_key(spec, stage) for stage in limits])
    alerts = []
    for key, state in states.items():
        if state.freshness_state != FreshnessState.FAIL:
            continue
        stage = key.path[-1]
        alerts.append(
            Alert(
                spec.name,
                f"stale/{stage}",
                "warning",
                f"{key.to_user_string()} is stale",
                f"Nothing was made in {limits[stage]:g} days, which its freshness policy asks for.",
                _DO[stage],
                asset_page(ui, spec, stage),
            )
        )
    return Seen(alerts, frozenset({"stale/"}))


_DO = {
    "raw": "Find out why nothing lands: the source, its schedule, or who brings the files.",
    "live_drift": "Nothing was answered, or its log does not reach the storage: look at the "
    "serving app, then at the schedule of the job `monitor`.",
}


def by_sensors(instance: dg.DagsterInstance, spec: UseCase, ui: str) -> Seen:
    """The checks that sensors answer without a run: whether the newest answer is a no."""
    keys = {
        dg.AssetCheckKey(asset_key(spec, stage), check): (stage, check)
        for stage, check in _ANSWERED_BY_SENSORS
    }
    history = instance.event_log_storage.get_asset_check_execution_history
    alerts = []
    for key in keys:
        # While a run is at work on the asset, its newest answer is only planned.
        given = [record.evaluation for record in history(key, limit=PLANNED + 1)]
        answer = next((each for each in given if isinstance(each, dg.AssetCheckEvaluation)), None)
        if answer is None or answer.passed:
            continue
        stage, check = keys[key]
        about, do = _ANSWERED_BY_SENSORS[stage, check]
        page = asset_page(ui, spec, stage)
        said, title = answer.description or "", f"{spec.name}: {about}"
        alerts.append(Alert(spec.name, f"sensor/{check}", "warning", title, said, do, page))
    return Seen(alerts, frozenset({"sensor/"}))


_ANSWERED_BY_SENSORS = {
    (rollout.STAGE, rollout.ALIAS): (
        "the alias `champion` was moved",
        "Accept or undo what somebody did in MLflow, as the text says.",
    ),
    (promotion.STAGE, promotion.RETRAIN): (
        "a retrain is due and does not come",
        "Mend what the text names, then launch the job `retrain` by hand.",
    ),
}


def asset_page(ui: str, spec: UseCase, stage: str) -> str:
    """The page of an asset in Dagster's UI."""
    return f"{ui}/assets/{spec.name}/{stage}"
