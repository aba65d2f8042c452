"""The retrain policy: what triggers, what waits, and that it cannot storm."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.lib.retraining.policy import Facts, Score, Unseen, asked_by, decide, retry_at
from mlops_assets.lib.spec.retrain import Retrain

MONDAY = datetime(2026, 1, 5, 12, tzinfo=UTC)
FLOORS = {"accuracy": 0.75}
LOW = Score("accuracy", "2026-01-05", "measured", 0.61, 0.68)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def landed(rows: int, moment: datetime = MONDAY) -> tuple[Unseen, ...]:
    return (Unseen(moment, rows),)


def said(plan: Retrain, facts: Facts) -> tuple[str | None, str]:
    decision = decide(plan, FLOORS, facts)
    return decision.trigger, decision.reason


def test_every_trigger_that_holds_is_named_and_the_first_decides() -> None:
    facts = Facts(MONDAY, MONDAY - HOUR, unseen=landed(294), windows=(True,))
    # One window is not enough for a trigger, and worth a word.
    assert said(Retrain(), facts) == ("new_rows", "294 new rows; drift in 1 of 1 windows")
    plan = Retrain(new_rows=1000, cooldown_hours=0, schedule="0 12 * * *")
    facts = Facts(
        MONDAY + MINUTE,
        MONDAY - HOUR,
        unseen=landed(294, MONDAY - MINUTE),
        windows=(True, False, True),
        scores=(LOW,),
    )
    assert said(plan, facts) == (
        "drift",
        "drift in 2 of 3 windows; accuracy 0.61 (measured, at most 0.68) on 2026-01-05, under "
        "0.75; scheduled for 2026-01-05 12:00Z; 294 of 1000 new rows",
    )
    assert said(plan, replace(facts, changed="batch a was withdrawn"))[0] == "person"


def test_the_first_rows_are_trained_on_and_later_ones_wait_until_they_are_enough() -> None:
    plan = Retrain(new_rows=1000)
    assert said(plan, Facts(MONDAY, unseen=landed(303))) == ("new_rows", "303 new rows")
    assert said(plan, Facts(MONDAY, MONDAY - HOUR, unseen=landed(3))) == (
        None,
        "3 of 1000 new rows; scheduled for 2026-01-12 03:00Z",
    )


def test_after_a_contest_drift_waits_for_the_cooldown_and_new_rows_do_not() -> None:
    facts = Facts(MONDAY, MONDAY - HOUR, unseen=landed(3), windows=(True, True))
    held = "drift in 2 of 2 windows; 3 of 1000 new rows; cooldown until 2026-01-06 11:00Z"
    trigger, reason = said(Retrain(new_rows=1000), facts)
    assert trigger is None
    assert reason.startswith(held)
    assert said(Retrain(), facts)[0] == "new_rows"


def test_a_schedule_is_kept_after_a_night_that_was_missed_and_for_rows_that_were_there() -> None:
    plan = Retrain(new_rows=1000, cooldown_hours=0)
    before, now = MONDAY - timedelta(days=2), MONDAY + timedelta(days=2)
    facts = Facts(now, before, unseen=landed(3, MONDAY - timedelta(days=1)))
    assert said(plan, facts)[0] == "schedule"
    assert said(plan, replace(facts, contest=MONDAY))[0] is None
    # What landed after it waits for the next one.
    assert said(plan, replace(facts, unseen=landed(3, MONDAY)))[0] is None
    assert said(Retrain(new_rows=1000, schedule=None), facts)[0] is None


def test_a_floor_is_broken_only_if_the_whole_interval_is_under_it() -> None:
    plan = Retrain(new_rows=1000, cooldown_hours=0)
    facts = Facts(MONDAY, MONDAY - HOUR, unseen=landed(3), scores=(LOW,))
    assert said(plan, facts)[0] == "performance"
    assert said(plan, replace(facts, scores=(replace(LOW, high=0.76),)))[0] is None
    assert said(plan, replace(facts, scores=(replace(LOW, metric="f1"),)))[0] is None


def test_a_run_without_tags_was_launched_by_a_person() -> None:
    tags = decide(Retrain(), FLOORS, Facts(MONDAY, unseen=landed(1))).tags()
    assert asked_by(tags) == {"trigger": "new_rows", "reason": "1 new rows"}
    assert asked_by({}) == {"trigger": "person", "reason": "launched by hand"}


plans = st.builds(
    Retrain,
    new_rows=st.none() | st.integers(1, 500),
    new_rows_cooldown_hours=st.floats(0, 48),
    cooldown_hours=st.floats(0, 100),
    backoff_minutes=st.floats(0, 600),
)
scores = st.just(()) | st.just((LOW,))
windows = st.lists(st.booleans(), max_size=5).map(tuple)


@given(plans, windows, scores, st.integers(0, 10_000))
def test_the_same_rows_are_never_trained_on_again(
    plan: Retrain, seen: tuple[bool, ...], low: tuple[Score, ...], hours: int
) -> None:
    facts = Facts(MONDAY + hours * HOUR, MONDAY, windows=seen, scores=low)
    decision = decide(plan, FLOORS, facts)
    assert decision.trigger is None
    # A person is told once: the sentence does not change with the counts.
    more = decide(plan, FLOORS, replace(facts, windows=(*seen, *seen)[:5], now=facts.now + HOUR))
    if sum(seen) >= 2:
        assert decision.trouble == more.trouble != ""
    assert bool(decision.trouble) == bool(low or sum(seen) >= 2)


steps = st.lists(
    st.tuples(st.integers(0, 3000), st.integers(0, 300), windows, scores), min_size=2, max_size=40
)


@given(plans, steps)
def test_no_two_contests_within_the_cooldown_of_what_triggered(
    plan: Retrain, history: list[tuple[int, int, tuple[bool, ...], tuple[Score, ...]]]
) -> None:
    now, contest, unseen = MONDAY, None, tuple[Unseen, ...]()
    for minutes, rows, seen, low in history:
        now += minutes * MINUTE
        unseen += landed(rows, now) if rows else ()
        facts = Facts(now, contest, unseen=unseen, windows=seen, scores=low)
        trigger = decide(plan, FLOORS, facts).trigger
        assert decide(plan, FLOORS, replace(facts, at_work=True)).trigger is None
        assert decide(plan, FLOORS, replace(facts, refused="too few")).trigger is None
        if trigger is None:
            continue
        assert unseen
        is_new = trigger == "new_rows"
        hours = plan.new_rows_cooldown_hours if is_new else plan.cooldown_hours
        assert contest is None or now - contest >= timedelta(hours=hours)
        contest, unseen = now, ()


def test_a_retrain_that_always_fails_does_not_storm_whatever_lands() -> None:
    plan = Retrain(backoff_minutes=5)
    failed: tuple[datetime, ...] = ()
    for tick in range(1000):
        now = MONDAY + tick * MINUTE
        facts = Facts(now, MONDAY, unseen=landed(tick + 1), windows=(True,) * 5, failed=failed)
        if decide(plan, FLOORS, facts).trigger is not None:
            failed = (now, *failed)
    # At minutes 0, 5, 15, 35, 75, 155, 315 and 635.
    assert len(failed) == 8
    assert retry_at(plan, failed * 100) == failed[0] + timedelta(days=1)
