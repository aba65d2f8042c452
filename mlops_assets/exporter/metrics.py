"""Every metric of the platform, in one table, which docs/metrics.md shows.

Labels are names that people chose and that are few: use cases, assets, checks, jobs, versions that
serve. A batch or a run is none, for there is no end of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)

Kind = Literal["gauge", "counter", "summary"]


@dataclass(frozen=True)
class Measure:
    """One metric.

    Attributes:
        name: As it is asked for; a counter ends in ``_total``.
        help: What it says, and when there is none.
        labels: In the order in which a sample gives them.
        kind: A counter or a summary counts from the start of the exporter, unless its help says
            otherwise.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    kind: Kind = "gauge"


@dataclass(frozen=True)
class Sample:
    """One value of a metric; of a summary how many there were, and their sum."""

    measure: Measure
    labels: tuple[str, ...]
    value: float | tuple[int, float]


MEASURES: Final[list[Measure]] = []


def _measure(name: str, text: str, *labels: str, kind: Kind = "gauge") -> Measure:
    made = Measure(f"mlops_{name}", text, labels, kind)
    MEASURES.append(made)
    return made


EXPORTER_UP = _measure("exporter_up", "1 while every part of the exporter works")
PART_UP = _measure("exporter_part_up", "1 while a part works; its log says why not", "part")
PART_SECONDS = _measure("exporter_part_seconds", "Time that a part took when last asked", "part")

RUNS = _measure(
    "runs_total", "Runs that have ended: success, failure, canceled", "job", "status",
    kind="counter",
)  # fmt: skip
RUN_SECONDS = _measure(
    "run_seconds", "Time of runs that have ended, from start to end", "job", "status",
    kind="summary",
)  # fmt: skip
RUN_CPU_SECONDS = _measure(
    "run_cpu_seconds", "CPU time of runs that have ended, loading the graph included", "job",
    "status", kind="summary",
)  # fmt: skip
LAST_RUN_TIME = _measure(
    "last_run_timestamp_seconds", "When the last run of a job ended so", "job", "status"
)
LAST_RUN_SECONDS = _measure("last_run_seconds", "Time of that run", "job", "status")
LAST_RUN_CPU_SECONDS = _measure("last_run_cpu_seconds", "CPU time of that run", "job", "status")
RUNS_ACTIVE = _measure(
    "runs_active", "Runs that have not ended: queued, not_started, starting, started, canceling",
    "job", "status",
)  # fmt: skip
QUEUE_AGE = _measure("run_queue_age_seconds", "Age of the oldest run that waits; 0 where none does")
DAEMON_AGE = _measure(
    "daemon_heartbeat_age_seconds", "Since a daemon gave a sign of life", "daemon"
)

ASSET_AGE = _measure(
    "asset_age_seconds", "Since the last materialisation, of any partition", "use_case", "asset"
)
CHECK_FAILED = _measure(
    "check_failed", "1 if the last answer is no, or the check raised; not of one that only warns",
    "use_case", "asset", "check",
)  # fmt: skip
CHECK_WARNED = _measure(
    "check_warned", "1 if the last answer is no, of a check that warns", "use_case", "asset",
    "check",
)  # fmt: skip

BATCHES = _measure("batches", "Batches that have landed", "use_case")
BATCH_AGE = _measure("batch_age_seconds", "Since the newest batch landed", "use_case")
BATCH_ROWS = _measure("batch_rows", "Rows of the newest validated batch", "use_case")
BATCH_QUARANTINED = _measure("batch_quarantined_rows", "Of these, in quarantine", "use_case")
BATCH_QUARANTINED_SHARE = _measure(
    "batch_quarantined_ratio", "Of these, the share in quarantine", "use_case"
)
BATCH_QUALITY = _measure("batch_quality_score", "Quality score of that batch, of 100", "use_case")

LEDGER_VERIFIED = _measure("ledger_verified", "1 if the ledger's chain holds", "use_case")
LEDGER_SEQUENCE = _measure("ledger_head_sequence", "Number of the newest entry", "use_case")
LEDGER_AGE = _measure("ledger_head_age_seconds", "Since the newest entry was written", "use_case")
DECISIONS = _measure(
    "decisions_total", "Entries of the ledger by decision, all that there ever were", "use_case",
    "decision", kind="counter",
)  # fmt: skip
AWAITING = _measure("versions_awaiting_approval", "Versions that wait for a person", "use_case")
CHAMPION = _measure(
    "champion_info", "The champion by the ledger", "use_case", "version", "algorithm"
)
CHAMPION_AGE = _measure("champion_age_seconds", "Since it became champion", "use_case")
CHAMPION_METRIC = _measure(
    "champion_metric", "What the champion reached in evaluation: out_of_fold, test", "use_case",
    "version", "metric", "rows",
)  # fmt: skip
DESIRED = _measure(
    "desired_traffic_ratio", "Share of the traffic that a role should get", "use_case", "role",
    "version",
)  # fmt: skip
ALIAS_AGREES = _measure(
    "mlflow_champion_agrees", "1 if MLflow's alias champion is the ledger's champion", "use_case"
)

DRIFT_SCORE = _measure(
    "drift_score", "Share of drifted columns in the newest judged window: batches, days",
    "use_case", "windows",
)  # fmt: skip
DRIFT_EFFECT = _measure(
    "drift_effect", "Its largest effect, as a multiple of the least that matters", "use_case",
    "windows",
)  # fmt: skip
DRIFTED = _measure("drift_detected", "1 if that window has drifted", "use_case", "windows")
DRIFT_AGE = _measure("drift_window_age_seconds", "Since that window began", "use_case", "windows")

LIVE_METRIC = _measure(
    "live_metric", "A metric of the newest day that has one: measured, estimated", "use_case",
    "version", "role", "metric", "kind",
)  # fmt: skip
LIVE_ACCURACY = _measure(
    "live_accuracy", "The accuracy of it, of the version with the most rows", "use_case", "role",
    "kind",
)  # fmt: skip
LIVE_ACCURACY_HIGH = _measure(
    "live_accuracy_high", "Upper end of its 95 % interval, which alerts go by", "use_case", "role",
    "kind",
)  # fmt: skip
LIVE_ERROR = _measure(
    "live_estimate_error", "The newest estimate that was measured, less what was measured",
    "use_case", "version", "role", "metric",
)  # fmt: skip
LIVE_ROWS = _measure("live_rows", "Rows answered on the newest day", "use_case", "version", "role")
LIVE_AGE = _measure(
    "live_day_age_seconds", "Since the day of live_metric began", "use_case", "kind"
)
LABEL_LAG = _measure(
    "label_lag_seconds", "Median time from answer to label, newest day", "use_case"
)
ALERT_LEVEL = _measure(
    "alert_level", "Level of the spec: accuracy, error_rate, latency_p95_seconds", "use_case",
    "about", "severity",
)  # fmt: skip

DEPLOYMENTS = _measure("delivery_deployments", "Versions put to serve in 28 days", "use_case")
LEAD = _measure(
    "delivery_lead_time_seconds", "From a landed batch to a champion made of it, median of 28 days",
    "use_case",
)  # fmt: skip
FAILURES = _measure(
    "delivery_change_failure_ratio", "Rollouts of 28 days that were taken or rolled back, share",
    "use_case",
)  # fmt: skip
RESTORE = _measure(
    "delivery_restore_seconds", "From the start of such a rollout to its end, median of 28 days",
    "use_case",
)  # fmt: skip


def families(samples: Iterable[Sample]) -> list[Metric]:
    """Every metric of the table with its samples; what has none is declared all the same."""
    made: dict[str, Metric] = {}
    for measure in MEASURES:
        family = {
            "gauge": GaugeMetricFamily,
            "counter": CounterMetricFamily,
            "summary": SummaryMetricFamily,
        }[measure.kind]
        made[measure.name] = family(measure.name, measure.help, labels=measure.labels)
    for sample in samples:
        family_of = made[sample.measure.name]
        if isinstance(family_of, SummaryMetricFamily):
            assert isinstance(sample.value, tuple)
            count, total = sample.value
            family_of.add_metric(sample.labels, count_value=count, sum_value=total)
        else:
            assert isinstance(family_of, GaugeMetricFamily | CounterMetricFamily)
            assert not isinstance(sample.value, tuple)
            family_of.add_metric(sample.labels, sample.value)
    return list(made.values())
