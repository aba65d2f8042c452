"""Whether the champion is still as good as the spec asks, measured or estimated."""

from collections.abc import Sequence
from typing import Any

from mlops_assets.alerting.alert import Alert, Seen
from mlops_assets.lib.performance.floors import KINDS, METRIC, missed
from mlops_assets.lib.spec.use_case import UseCase

# Labels come late: so many days are looked at for a measured value.
DAYS = 14


def performance(
    spec: UseCase, records: Sequence[dict[str, Any]], champion: str | None, page: str
) -> Seen:
    """The champion's newest accuracy of each kind, where it is below a level.

    Labels come late: the newest day with a measured value may be older than the newest estimate.

    Args:
        spec: The use case, with its levels.
        records: Of ``lib.performance.records``, oldest first.
        champion: Digest of its bundle; what a former one did says nothing of it.
        page: Address of the asset ``live_performance`` in Dagster's UI.
    """
    alerts = []
    for kind in KINDS:
        found = _newest(records, champion, kind)
        if found is None:
            continue
        record, version = found
        score = version[kind][METRIC]
        below = missed(score, spec.alerts.accuracy)
        if below is None:
            continue
        level, limit = below
        rows = version["labelled" if kind == "measured" else "rows"]
        what = (
            f"{kind.capitalize()} {METRIC} of version {version['version']} on {record['day']} is "
            f"{score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f}), below {limit:g}, "
            f"on {rows} answers."
        )
        do = (
            "See in `live_drift` and `live_performance` what changed; a retrain on newer rows "
            f"makes another version, and `mlops rollback {spec.name}` puts the one before back."
        )
        title = f"{spec.name}: {kind} {METRIC} is low"
        alerts.append(Alert(spec.name, f"performance/{kind}", level, title, what, do, page))
    return Seen(alerts, frozenset({"performance/"}))


def _newest(
    records: Sequence[dict[str, Any]], champion: str | None, kind: str
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    for record in reversed(records):
        for version in record["versions"]:
            known = METRIC in (version[kind] or {})
            if known and version["bundle"] == champion and version["role"] == "champion":
                return record, version
    return None
