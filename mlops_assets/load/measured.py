"""What a load test has seen: a time for every request, kept exactly and not in buckets."""

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Final

from mlops_assets.load.checks import AnswerCheck, reason
from mlops_assets.load.payloads import Payloads

OTHER: Final = "other reasons"
# A server may put something else into each refusal.
_MOST_REASONS: Final = 30
_OK: Final = 200


class Measured:
    """Collects the requests that count.

    Attributes:
        latencies: Seconds from when a request was due to its answer: of every request that was
            answered with 200, and of every one that was not answered at all, for as long as it
            waited. Refusals are quick and would flatter; they only count as errors.
        services: Seconds from when it was sent, of the same requests.
        late: Seconds by which the client itself was behind, of every request.
        succeeded: How many were answered with 200.
        errors: How many were not, by reason.
        statuses: How many answers had each status.
        check: Looks at every answer with status 200.
    """

    def __init__(self, payloads: Payloads) -> None:
        """Start with nothing."""
        self.latencies = array("d")
        self.services = array("d")
        self.late = array("d")
        self.succeeded = 0
        self.errors: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.check = AnswerCheck(payloads)

    def answered(
        self, position: int, latency: float, service: float, status: int, body: bytes
    ) -> None:
        """Record an answer to the body at a position."""
        self.statuses[status] += 1
        if status != _OK:
            self._error(reason(status, body))
            return
        self.succeeded += 1
        self.latencies.append(latency)
        self.services.append(service)
        self.check.answer(position, body)

    def failed(self, latency: float, service: float, why: str) -> None:
        """Record a request that was not answered."""
        self.latencies.append(latency)
        self.services.append(service)
        self._error(why)

    def _error(self, why: str) -> None:
        known = why in self.errors or len(self.errors) < _MOST_REASONS
        self.errors[why if known else OTHER] += 1


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least a share of all values does not exceed.

    Args:
        ordered: Values in ascending order, at least one.
        share: Above 0, at most 1.
    """
    # In millionths, since 0.999 * 1000 is a little more than 999.
    rank = -(-round(share * 1_000_000) * len(ordered) // 1_000_000)
    return ordered[rank - 1]
