"""Every metric of the server.

What is counted is counted by prometheus-client, which adds up several workers where
PROMETHEUS_MULTIPROC_DIR names their folder; what is so at this moment is the worst, the sum or the
greatest over those that live. Only which bundles serve is told by the worker that is asked.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client import generate_latest as _generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from serving.prediction_log.log import PredictionLog

# A row takes less than a millisecond; the lower buckets are where a regression shows first.
_SECONDS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip
# Finer: two versions are compared by it, and a bucket is how far apart they must be to differ.
_ANSWER_SECONDS: Final = tuple(
    digit * 10.0**power for power in range(-4, 1) for digit in (1, 1.5, 2, 3, 5, 7)
)
_TENTHS: Final = tuple(i / 10 for i in range(1, 11))
_ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024)
_DIFFERENCES: Final = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
#: Names the folder through which workers add up; set before this module is imported.
FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"

Observer = Callable[[int, float, float, float], None]


class Metrics:
    """The metrics of one app, and the few ways in which they move.

    One registry an app: two apps in one process (tests) do not add up each other's numbers.
    """

    def __init__(self, use_cases: Iterable[str] = ()) -> None:
        """Create every metric, and what is known beforehand at zero: rates exist from the start.

        Args:
            use_cases: Which will be served.
        """
        self.registry: Final = CollectorRegistry()
        self._shared = FOLDER in os.environ
        registry = None if self._shared else self.registry
        if not self._shared:
            ProcessCollector(registry=self.registry)

        def counter(name: str, help_: str, *labels: str) -> Counter:
            return Counter(f"serving_{name}", help_, labels, registry=registry)

        def histogram(name: str, help_: str, buckets: Any, *labels: str) -> Histogram:
            return Histogram(f"serving_{name}", help_, labels, buckets=buckets, registry=registry)

        self._requests = counter("requests", "Requests answered", "route", "status")
        self._request_seconds = histogram(
            "request_seconds", "Time to answer a request", _SECONDS, "route"
        )
        self._refused = counter("refused", "Requests refused for want of room", "reason")
        self._stage_seconds = histogram(
            "stage_seconds", "Time of one stage of a batch", _SECONDS, "use_case", "stage"
        )
        self._answer_seconds = histogram(
            "answer_seconds", "Time of a request in queue, features and model of who answers it",
            _ANSWER_SECONDS, "use_case", "role", "version",
        )  # fmt: skip
        self._answer_errors = counter(
            "answer_errors", "Requests that a version was asked and did not answer",
            "use_case", "role", "version", "reason",
        )  # fmt: skip
        self._batch_rows = histogram(
            "batch_rows", "Rows that were computed together", _ROWS, "use_case"
        )
        self._predictions = counter(
            "predictions", "Rows answered", "use_case", "role", "version", "class"
        )
        self._probability = histogram(
            "prediction_probability", "Probability of the positive class", _TENTHS,
            "use_case", "role", "version",
        )  # fmt: skip
        self._out_of_range = counter(
            "out_of_range", "Values outside of what training saw",
            "use_case", "role", "version", "column",
        )  # fmt: skip
        self._challenger = counter(
            "challenger_fallbacks", "Requests the champion answered in a challenger's place",
            "use_case", "reason",
        )  # fmt: skip
        self._shadow = counter(
            "shadow", "Rows that a shadow was given, by what came of them", "use_case", "outcome"
        )
        self._shadow_difference = histogram(
            "shadow_difference", "Difference of a shadow's probability to the answer",
            _DIFFERENCES, "use_case",
        )  # fmt: skip
        self._swaps = counter("swaps", "Bundles put to serve", "use_case")
        self._failures = counter(
            "bundle_failures", "Attempts to follow the desired state that failed", "use_case"
        )
        self._log_dropped = counter("log_dropped", "Records that the prediction log lost", "reason")
        self._log_stored = counter("log_stored", "Records that reached the storage root")

        def gauge(
            name: str, help_: str, mode: Literal["livemin", "livesum", "livemax"], *labels: str
        ) -> Gauge:
            return Gauge(
                f"serving_{name}", help_, labels, registry=registry, multiprocess_mode=mode
            )

        # A worker that does not live any more has no say, and one that starts has no champion yet.
        self._ready = gauge("ready", "1 when every worker has a champion", "livemin", "use_case")
        self._log_records = gauge(
            "log_backlog_records", "Records on their way to the storage", "livesum"
        )
        self._log_bytes = gauge("log_backlog_bytes", "Size of what waits on the disk", "livesum")
        self._log_seconds = gauge(
            "log_backlog_seconds", "Age of the oldest record on its way", "livemax"
        )
        self._own = (
            self._requests, self._request_seconds, self._refused, self._stage_seconds,
            self._answer_seconds, self._answer_errors, self._batch_rows, self._predictions,
            self._probability, self._out_of_range, self._challenger, self._shadow,
            self._shadow_difference, self._swaps, self._failures, self._log_dropped,
            self._log_stored, self._ready, self._log_records, self._log_bytes, self._log_seconds,
        )  # fmt: skip
        self._seen: dict[str, int] = {}
        for use_case in use_cases:
            # Opens the files of histograms, which come to be with a series: no answer waits, or
            # fails, for that.
            self._batch_rows.labels(use_case)
            self._ready.labels(use_case)
            self._swaps.labels(use_case)
            self._failures.labels(use_case)
        self._state = _Bundles()
        self.registry.register(self._state)
        # Looking a series up by its labels costs more than moving it.
        self._of = lru_cache(4096)(lambda metric, *labels: metric.labels(*labels))

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request; `route` is a template, never a path a client made up."""
        self._of(self._requests, route, str(status)).inc()
        self._of(self._request_seconds, route).observe(seconds)

    def refused(self, reason: str) -> None:
        """Count a request that was refused for want of room or time."""
        self._of(self._refused, reason).inc()

    def batch(self, use_case: str) -> Observer:
        """What a lane of a use case tells its batches to; see `serving.roles.lane`."""
        rows = self._batch_rows.labels(use_case)
        stages = [self._stage_seconds.labels(use_case, s) for s in ("queue", "features", "model")]

        def observe(count: int, *seconds: float) -> None:
            rows.observe(count)
            for stage, taken in zip(stages, seconds, strict=True):
                stage.observe(taken)

        return observe

    def prediction(
        self, use_case: str, role: str, version: str, label: str, probability: float
    ) -> None:
        """Count an answered row of a version by its class."""
        self._of(self._predictions, use_case, role, version, label).inc()
        self._of(self._probability, use_case, role, version).observe(probability)

    def answered(self, use_case: str, role: str, version: str, seconds: float) -> None:
        """Record how long a version took for the rows of one request."""
        self._of(self._answer_seconds, use_case, role, version).observe(seconds)

    def unanswered(self, use_case: str, role: str, version: str, reason: str) -> None:
        """Count a request that a version did not answer: refused, late, failed or resting."""
        self._of(self._answer_errors, use_case, role, version, reason).inc()

    def out_of_range(self, use_case: str, role: str, version: str, column: str) -> None:
        """Count a value outside of what a version's training saw."""
        self._of(self._out_of_range, use_case, role, version, column).inc()

    def fallback(self, use_case: str, reason: str) -> None:
        """Count a request that the champion answered in a challenger's place."""
        self._of(self._challenger, use_case, reason).inc()

    def shadow(self, use_case: str, outcome: str, rows: int) -> None:
        """Count rows of a shadow: agreed, disagreed, dropped or failed."""
        self._of(self._shadow, use_case, outcome).inc(rows)

    def shadow_score(
        self, use_case: str, version: str, probability: float, difference: float
    ) -> None:
        """Record a shadow's probability, and how far it was from the answer."""
        self._of(self._probability, use_case, "shadow", version).observe(probability)
        self._of(self._shadow_difference, use_case).observe(difference)

    def follows(self, use_case: str, roles: Mapping[str, tuple[str, str]]) -> None:
        """Say what serves of a use case now: version and digest by role."""
        self._ready.labels(use_case).set("champion" in roles)
        self._state.roles[use_case] = roles

    def swapped(self, use_case: str) -> None:
        """Count a bundle that was put to serve."""
        self._of(self._swaps, use_case).inc()

    def failed(self, use_case: str) -> None:
        """Count a failed attempt to follow the desired state."""
        self._of(self._failures, use_case).inc()

    def watch(self, log: PredictionLog) -> None:
        """Take over what the prediction log counts."""
        backlog = log.backlog()
        self._log_records.set(backlog.queued + backlog.spooled)
        self._log_bytes.set(backlog.size)
        self._log_seconds.set(backlog.oldest_seconds)
        for reason, lost in log.dropped.items():
            self._log_dropped.labels(reason).inc(lost - self._seen.get(reason, 0))
            self._seen[reason] = lost
        stored = log.stored
        self._log_stored.inc(stored - self._seen.get("", 0))
        self._seen[""] = stored

    def text(self) -> bytes:
        """Return every metric in Prometheus' text format, those of all workers together.

        A worker whose files were removed from the folder still counts in them; it tells its own.
        """
        if not self._shared:
            return _generate_latest(self.registry)
        together = CollectorRegistry()
        if (Path(os.environ[FOLDER]) / f"counter_{os.getpid()}.db").exists():
            MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        else:
            for metric in self._own:
                together.register(metric)
        together.register(self._state)
        return _generate_latest(together)


class _Bundles(Collector):
    """Which bundles serve at this moment, in the worker that is asked."""

    def __init__(self) -> None:
        self.roles: dict[str, Mapping[str, tuple[str, str]]] = {}

    def collect(self) -> Iterable[Metric]:
        info = GaugeMetricFamily(
            "serving_bundle_info", "A bundle that serves",
            labels=["use_case", "role", "version", "digest"],
        )  # fmt: skip
        for use_case, roles in dict(self.roles).items():
            for role, (version, digest) in roles.items():
                info.add_metric([use_case, role, version, digest], 1.0)
        return [info]
