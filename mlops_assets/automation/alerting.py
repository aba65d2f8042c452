"""The sensor that tells people what is wrong with a use case, and what has happened.

It compares, as the other sensors do: what is wrong now with what was told. Its cursor only says up
to when it has looked at runs, so that each is looked at once.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from mlops_assets import home
from mlops_assets.alerting import book
from mlops_assets.alerting.alerting import Alerting
from mlops_assets.alerting.channels import channels
from mlops_assets.automation.failing import Failing, without_batches
from mlops_assets.automation.standing import by_sensors, ledger_and_model, stale
from mlops_assets.lib.records.history import withdrawn
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.resources import StorageRoot

INTERVAL_SECONDS = 30


def alert_sensor(spec: UseCase) -> dg.SensorDefinition:
    """Tells what is wrong, once, and when it is over."""

    @dg.sensor(
        name=f"{spec.name}_alerts",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Tells people what is wrong with {spec.name}, and what has happened.",
    )
    def sensor(context: dg.SensorEvaluationContext, storage: StorageRoot) -> dg.SensorResult:
        now, ui, store = datetime.now(UTC), home.url("dagster"), storage.open()
        noted = book.read(store, spec.name)
        seen, cursor = Failing(context.instance, spec, ui).look(context.cursor, now)
        decided, entries = ledger_and_model(spec, store, storage.ledger(spec.name), now, ui)
        seen += decided + stale(context.instance, spec, ui)
        seen += by_sensors(context.instance, spec, ui)
        seen = without_batches(seen, noted.entries, withdrawn(entries))
        repeat = timedelta(hours=spec.alerts.repeat_hours)
        known, wrong = channels()
        settled = Alerting(noted, known, repeat).settle(seen, now)
        for alert in settled.opened:
            context.log.warning(f"{alert.level}: {alert.title}: {alert.what} {alert.do}")
        problems = [*wrong, *settled.problems]
        for problem in problems:
            context.log.error(problem)
        said = f"open alerts: {len(noted.entries)}, messages sent: {settled.sent}"
        return dg.SensorResult(skip_reason="; ".join([said, *problems]), cursor=cursor)

    return sensor
