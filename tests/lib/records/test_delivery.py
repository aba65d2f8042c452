"""The four measures of delivery, by example and by property."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.lib.records.delivery import Delivery, delivery

NOW = datetime(2026, 3, 31, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Written:
    """Entries as the platform writes them, one an hour unless said otherwise."""

    def __init__(self, start: datetime) -> None:
        self.entries: list[dict[str, Any]] = []
        self.time = start

    def write(self, decision: str, bundle: str, **more: Any) -> int:
        self.time += HOUR
        number = len(self.entries) + 1
        about = {"sequence": number, "decision": decision, "bundle": bundle}
        self.entries.append({**about, "time": self.time.isoformat(), **more})
        return number

    def roll_out(self, bundle: str, *batches: str, end: str = "promoted") -> None:
        number = self.write("approved", bundle, batches=list(batches))
        self.write("rolling_out", bundle, decision_of=number)
        self.write(end, bundle, decision_of=number)

    def roll_back(self, to: str, away: str) -> None:
        number = self.write("rolled_back", to, **{"from": {"bundle": away}})
        self.write("rolling_out", to, decision_of=number)
        self.write("promoted", to, decision_of=number)


def judged(written: Written, landed: dict[str, datetime], days: float = 28) -> Delivery:
    return delivery(written.entries, landed, NOW, days)


def test_a_month_by_hand() -> None:
    start = NOW - timedelta(days=10)
    landed = dict.fromkeys(("a", "b", "c"), start)
    written = Written(start)
    written.roll_out("one", "a")  # promoted 3 h after a landed
    written.roll_out("two", "a", "b")  # 6 h after b; a was delivered before
    written.roll_back("one", "two")  # 2 h after it had begun (5 h): restored at 9 h
    written.roll_out("three", "a", "c", end="aborted")  # began at 11 h, back at 12 h
    found = judged(written, landed)
    assert (found.deployments, found.rollouts, found.failed) == (2, 3, 2)
    assert found.per_week == 0.5
    assert found.failure_share == pytest.approx(2 / 3)
    assert found.lead_seconds == 4.5 * 3600
    assert found.restore_seconds == (4 + 1) / 2 * 3600


def test_nothing_and_what_is_still_open() -> None:
    assert judged(Written(NOW), {}) == Delivery(28, 0, 0, 0, None, None)
    assert judged(Written(NOW), {}).failure_share is None
    written = Written(NOW - timedelta(days=2))
    written.roll_out("one", "a")
    number = written.write("rolled_back", "zero", **{"from": {"bundle": "one"}})
    written.write("rolling_out", "zero", decision_of=number)
    found = judged(written, {})  # where a landed is not known
    assert (found.deployments, found.failed, found.lead_seconds) == (1, 1, None)
    assert found.restore_seconds is None
    with pytest.raises(ValueError, match="-1 days are no window"):
        judged(written, {}, days=-1)


ROLLOUTS = st.lists(
    st.tuples(
        st.sampled_from(["promoted", "aborted", "rolled back"]),
        st.sets(st.sampled_from("abcdef"), max_size=3),
        st.floats(0.1, 200),
    ),
    max_size=12,
)


def _written(rollouts: list[tuple[str, set[str], float]]) -> tuple[Written, dict[str, datetime]]:
    start = NOW - timedelta(days=90)
    written, landed = Written(start), dict.fromkeys("abcde", start)
    for number, (how, batches, hours) in enumerate(rollouts):
        written.time += timedelta(hours=hours)
        end = "aborted" if how == "aborted" else "promoted"
        written.roll_out(f"v{number}", *sorted(batches), end=end)
        if how == "rolled back":
            written.roll_back("zero", f"v{number}")
    return written, landed


@given(rollouts=ROLLOUTS, days=st.floats(1, 100))
def test_what_holds_of_every_history(
    rollouts: list[tuple[str, set[str], float]], days: float
) -> None:
    written, landed = _written(rollouts)
    found = judged(written, landed, days)
    assert 0 <= found.deployments <= found.rollouts
    assert 0 <= found.failed <= found.rollouts
    assert found.rollouts - found.failed <= found.deployments
    for seconds in (found.lead_seconds, found.restore_seconds):
        assert seconds is None or 0 < seconds <= 90 * 86_400
    # A longer window has no less in it, and what is later than now is not in it.
    assert judged(written, landed, days + 1).rollouts >= found.rollouts
    written.time = NOW
    written.roll_out("later", "a")
    assert judged(written, landed, days) == found
    everything = judged(_written(rollouts)[0], landed, 100)
    assert everything.deployments == sum(how != "aborted" for how, *_ in rollouts)
    assert everything.failed == sum(how != "promoted" for how, *_ in rollouts)
