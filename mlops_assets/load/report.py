"""What a load test found, for people and for programs, and whether it is good enough."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from mlops_assets.load.measured import Measured, percentile

PERCENTILES: Final = {
    "p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999, "max": 1.0,
}  # fmt: skip
_MILLISECONDS: Final = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Report:
    """The outcome of one load test.

    Attributes:
        url: Of the server.
        path: Of the endpoint.
        loop: `open` or `closed`.
        rate: Requests a second that were asked for; None in a closed loop.
        connections: How many there were, at most.
        rows: Rows in each request.
        seconds: How long requests were sent, without the warm-up.
        requests: How many of them count.
        throughput: Requests a second that were answered with 200.
        latency_ms: Percentiles and mean, in milliseconds, from when a request was due; empty where
            none was answered. Refused requests are not among them.
        service_ms: The same from when it was sent. The difference is what a closed loop hides.
        late_ms: By how much the client itself was behind. Where this is not far below
            `latency_ms`, the client is what was measured.
        errors: How many requests were not answered with 200, by reason.
        statuses: How many answers had each status.
        versions: How many predictions each version has made.
        wrong: How many predictions were not what they should be.
        examples: The first of these, in words.
        largest_difference: Between a probability and the expected one; None where
            none was compared.
    """

    url: str
    path: str
    loop: str
    rate: float | None
    connections: int
    rows: int
    seconds: float
    requests: int
    throughput: float
    latency_ms: dict[str, float]
    service_ms: dict[str, float]
    late_ms: dict[str, float]
    errors: dict[str, int]
    statuses: dict[str, int]
    versions: dict[str, int]
    wrong: int
    examples: list[str]
    largest_difference: float | None

    @classmethod
    def of(cls, measured: Measured, *, seconds: float, **about: Any) -> "Report":
        """Work out the figures of what was measured."""
        check = measured.check
        return cls(
            seconds=seconds,
            requests=measured.succeeded + sum(measured.errors.values()),
            throughput=measured.succeeded / seconds,
            latency_ms=_milliseconds(measured.latencies),
            service_ms=_milliseconds(measured.services),
            late_ms=_milliseconds(measured.late),
            errors=dict(measured.errors.most_common()),
            statuses={str(status): n for status, n in sorted(measured.statuses.items())},
            versions=dict(sorted(check.versions.items())),
            wrong=check.wrong,
            examples=check.examples,
            largest_difference=check.largest_difference,
            **about,
        )

    @property
    def failed(self) -> int:
        """How many requests were not answered with 200."""
        return sum(self.errors.values())

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return asdict(self)

    def as_markdown(self) -> str:
        """A page that says what was done, and what came of it."""
        asked = f"{self.rate:g} requests/s" if self.rate else f"{self.connections} connections"
        rows = "" if self.rows == 1 else f" of {self.rows} rows"
        lines = [
            f"{self.loop.capitalize()} loop, {asked}, {self.seconds:.1f} s: "
            f"{self.requests:,} requests{rows} to {self.url}{self.path}, "
            f"{self.throughput:,.1f} answered a second, {self.failed:,} errors, "
            f"{self.wrong:,} wrong answers.",
            "",
        ]
        if self.latency_ms:
            names = list(self.latency_ms)
            lines += [
                f"| ms | {' | '.join(names)} |",
                "| --- |" + " ---: |" * len(names),
                _row("latency, from when it was due", self.latency_ms),
                _row("from when it was sent", self.service_ms),
                _row("the client was late by", self.late_ms),
                "",
            ]
        lines += _table("errors", self.errors) + _table("answers by version", self.versions)
        if self.largest_difference is not None:
            lines.append(
                f"Largest difference from the expected score: {self.largest_difference:.1e}"
            )
        lines += [f"- wrong: {example}" for example in self.examples]
        return "\n".join(lines).rstrip() + "\n"


@dataclass(frozen=True)
class Limits:
    """What a load test must keep. A wrong answer, or no answer at all, breaks it in any case.

    Attributes:
        errors: The most requests that may fail; a share of all if `errors_are_share`.
        errors_are_share: Whether `errors` is a share, 0 to 1.
        throughput: The fewest answers a second.
        latency_ms: By percentile, the longest latency, in milliseconds.
    """

    errors: float = 0
    errors_are_share: bool = False
    throughput: float = 0
    latency_ms: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def parse(
        cls, errors: str = "0", throughput: float = 0, latency: Mapping[str, str] | None = None
    ) -> "Limits":
        """Read limits as a person writes them.

        Args:
            errors: A number (`0`), or a share of all requests (`0.1%`).
            throughput: The fewest answers a second.
            latency: By percentile, a time such as `50ms`, `1.5s` or `800us`.

        Raises:
            ValueError: One of them cannot be read. The message names it.
        """
        share = errors.endswith("%")
        try:
            most = float(errors.removesuffix("%")) / (100 if share else 1)
        except ValueError:
            raise ValueError(
                f"errors: {errors!r} is not a number or a share such as 0.1%"
            ) from None
        times = {name: _parse_milliseconds(name, text) for name, text in (latency or {}).items()}
        return cls(most, share, throughput, times)

    def broken(self, report: Report) -> list[str]:
        """Say in words which limits a report breaks; nothing if it keeps all."""
        found = []
        if not report.requests or report.failed == report.requests:
            found.append("no request was answered")
        if report.wrong:
            found.append(f"{report.wrong} wrong answers, none is allowed")
        most = self.errors * report.requests if self.errors_are_share else self.errors
        if report.failed > most:
            asked = f"{self.errors:.3%}" if self.errors_are_share else f"{self.errors:g}"
            found.append(f"{report.failed} of {report.requests} requests failed, limit {asked}")
        if report.throughput < self.throughput:
            found.append(f"{report.throughput:.1f} answers a second, limit {self.throughput:g}")
        for name, limit in self.latency_ms.items():
            value = report.latency_ms.get(name)
            if value is not None and value > limit:
                found.append(f"{name} {value:.2f} ms, limit {limit:g} ms")
        return found


def _parse_milliseconds(name: str, text: str) -> float:
    if name not in PERCENTILES:
        raise ValueError(f"{name!r} is not one of {', '.join(PERCENTILES)}")
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|s)", text)
    if found is None:
        raise ValueError(f"{name}: {text!r} is not a time such as 50ms, 1.5s or 800us")
    return float(found[1]) * _MILLISECONDS[found[2]]


def _milliseconds(seconds: Any) -> dict[str, float]:
    if not seconds:
        return {}
    ordered = sorted(seconds)
    values = {name: percentile(ordered, share) * 1e3 for name, share in PERCENTILES.items()}
    return {**values, "mean": sum(ordered) / len(ordered) * 1e3}


def _row(title: str, values: Mapping[str, float]) -> str:
    return f"| {title} | {' | '.join(f'{value:.2f}' for value in values.values())} |"


def _table(title: str, counts: Mapping[str, int]) -> list[str]:
    if not counts:
        return []
    rows = [f"| {name.replace('|', ' ')} | {count:,} |" for name, count in counts.items()]
    return [f"| {title} | |", "| --- | ---: |", *rows, ""]
