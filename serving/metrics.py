"""Every metric of the server.

One registry an app: two apps in one process (tests, a sandbox) do not add up each other's numbers.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client import generate_latest as _generate_latest

# A row takes about a millisecond; the lower buckets are where a regression shows first.
_SECONDS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip
_TENTHS: Final = tuple(i / 10 for i in range(1, 11))


class Metrics:
    """The counters of one app, and the few ways in which they move."""

    def __init__(self) -> None:
        """Create every metric at zero, so that rates exist before the first event."""
        self.registry: Final = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "serving_requests", "Requests answered", ["route", "status"], registry=self.registry
        )
        self._request_seconds = Histogram(
            "serving_request_seconds", "Time to answer a request", ["route"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._stage_seconds = Histogram(
            "serving_stage_seconds", "Time of one stage of a prediction", ["stage"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._predictions = Counter(
            "serving_predictions", "Predictions made", ["version", "class"], registry=self.registry
        )
        self._probability = Histogram(
            "serving_prediction_probability", "Probability of the positive class", ["version"],
            buckets=_TENTHS, registry=self.registry,
        )  # fmt: skip
        self._bundle_info = Gauge(
            "serving_bundle_info", "The bundle that serves", ["version", "digest"],
            registry=self.registry,
        )  # fmt: skip
        self._ready = Gauge("serving_ready", "1 when a bundle serves", registry=self.registry)
        self._swaps = Counter("serving_swaps", "Bundles put to serve", registry=self.registry)
        self._failures = Counter(
            "serving_bundle_failures",
            "Attempts to follow the desired state that failed",
            registry=self.registry,
        )
        self._serving: tuple[str, str] | None = None

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request; `route` is a template, never a path a client made up."""
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def stage(self, stage: str, seconds: float) -> None:
        """Record how long one stage of a prediction took: validate, features or model."""
        self._stage_seconds.labels(stage).observe(seconds)

    def prediction(self, version: str, label: str, probability: float) -> None:
        """Count a prediction of a version by its class."""
        self._predictions.labels(version, label).inc()
        self._probability.labels(version).observe(probability)

    def swapped(self, version: str, digest: str) -> None:
        """Record that a bundle now serves; the one before is no longer listed."""
        before, self._serving = self._serving, (version, digest)
        self._bundle_info.labels(version, digest).set(1)
        if before is not None and before != self._serving:
            self._bundle_info.remove(*before)
        self._ready.set(1)
        self._swaps.inc()

    def withdrawn(self) -> None:
        """Record that nothing serves any more."""
        if self._serving is not None:
            self._bundle_info.remove(*self._serving)
        self._serving = None
        self._ready.set(0)

    def failed(self) -> None:
        """Count a failed attempt to follow the desired state."""
        self._failures.inc()

    def text(self) -> bytes:
        """Return every metric in Prometheus' text format."""
        return _generate_latest(self.registry)
