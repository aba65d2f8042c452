"""The retrain policy: from what is known to a decision, with its reason in a sentence.

Pure functions of the spec and of facts. A training is asked for where a trigger holds whose
cooldown is over, and only where there is something to learn: the same rows give the same model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from cronsim import CronSim

from mlops_assets.lib.spec.retrain import Retrain

# ``person``: launched by hand, or somebody has changed what a model is made from.
Trigger = Literal["person", "new_rows", "drift", "performance", "schedule"]
# Tags of a run; one without them was launched by hand.
TRIGGER_TAG, REASON_TAG = "mlops/retrain_trigger", "mlops/retrain_reason"
BY_HAND = "launched by hand"
# A retrain that goes on failing is tried once a day, if it has newer rows to work on.
LONGEST_BACKOFF = timedelta(days=1)
# They ask for newer rows where there are none; a schedule that finds nothing is as it should be.
PRESSING = ("drift", "performance")
SAME_MODEL = "the same rows would give the same model"


@dataclass(frozen=True)
class Unseen:
    """An accepted batch that no contest has seen: when it landed, and its valid rows."""

    landed: datetime
    rows: int


@dataclass(frozen=True)
class Score:
    """What is known of the champion's answers.

    Attributes:
        day: As YYYY-MM-DD.
        kind: ``measured`` or ``estimated``.
        high: The upper end of its interval, or the value where there is none.
    """

    metric: str
    day: str
    kind: str
    value: float
    high: float


@dataclass(frozen=True)
class Facts:
    """What a decision rests on.

    Attributes:
        now: With a time zone, as all times here.
        contest: When the gate judged last; None before the first time.
        changed: What else is made otherwise now than for the last decision; empty if nothing is.
        unseen: The batches that the last decision was made without.
        windows: Whether each of the newest windows has drifted, the newest first: those that the
            champion was judged by, and that the last contest did not know.
        scores: The champion's, of the newest day that has any.
        refused: Why the training set of the accepted batches was refused; empty if it was not.
        at_work: Whether a retrain is queued or at work.
        failed: When each of the last retrains ended, the newest first, if none of them came to an
            answer and none was killed.
    """

    now: datetime
    contest: datetime | None = None
    changed: str = ""
    unseen: tuple[Unseen, ...] = ()
    windows: tuple[bool, ...] = ()
    scores: tuple[Score, ...] = ()
    refused: str = ""
    at_work: bool = False
    failed: tuple[datetime, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows no contest has seen."""
        return sum(batch.rows for batch in self.unseen)


@dataclass(frozen=True)
class Decision:
    """Whether to train.

    Attributes:
        trigger: What decides; None where nothing is trained.
        reason: Every trigger that holds, or what is waited for.
        trouble: What a person should know, and is told once for each such sentence.
    """

    trigger: Trigger | None
    reason: str
    trouble: str = ""

    def tags(self) -> dict[str, str]:
        """As the run is tagged."""
        return {TRIGGER_TAG: self.trigger or "", REASON_TAG: self.reason}


def asked_by(tags: Mapping[str, str]) -> dict[str, str]:
    """The trigger and the reason of a run, from its tags, as the ledger keeps them."""
    return {
        "trigger": tags.get(TRIGGER_TAG, "person"),
        "reason": tags.get(REASON_TAG, BY_HAND),
    }


def decide(plan: Retrain, floors: Mapping[str, float], facts: Facts) -> Decision:
    """Decide whether to train now.

    Args:
        plan: The policy.
        floors: Least value by metric, for the performance of the champion.
        facts: What is known.
    """
    if facts.at_work:
        return Decision(None, "a retrain is at work")
    if facts.refused:
        return Decision(None, f"the training set was refused: {facts.refused}")
    held = holding(plan, floors, facts)
    if not facts.changed and not facts.rows:
        pressing = {word: said for word, said in held.items() if word in PRESSING}
        if not pressing:
            return Decision(None, _waiting(plan, facts, held))
        said = "; ".join(pressing.values())
        advice = f"{SAME_MODEL}: land newer rows"
        trouble = f"{' and '.join(pressing)} ask for a retrain, but {advice}"
        return Decision(None, f"{said}, but {advice}", trouble)
    ready = [trigger for trigger in held if facts.now >= _cooled(plan, trigger, facts)]
    if not ready:
        return Decision(None, _waiting(plan, facts, held))
    again = retry_at(plan, facts.failed)
    if again is not None and facts.now < again:
        times = "once" if len(facts.failed) == 1 else f"{len(facts.failed)} times"
        return Decision(None, f"the retrain has failed {times}; no other before {_at(again)}")
    return Decision(ready[0], "; ".join(_seen(plan, facts, held)))


def holding(plan: Retrain, floors: Mapping[str, float], facts: Facts) -> dict[Trigger, str]:
    """The triggers that hold, cooldown or not, the first to be named first, in words."""
    held: dict[Trigger, str] = {}
    if facts.changed:
        held["person"] = facts.changed
    enough = plan.new_rows is not None and facts.rows >= plan.new_rows
    # Without a model there is nothing to wait for: the first rows are trained on.
    if enough or (facts.contest is None and facts.rows):
        held["new_rows"] = f"{facts.rows} new rows"
    drifted = sum(facts.windows)
    if plan.drift is not None and drifted >= plan.drift.drifted:
        held["drift"] = _drift(facts)
    low = [score for score in facts.scores if score.high < floors.get(score.metric, 0.0)]
    if plan.performance is not None and low:
        held["performance"] = "; ".join(
            f"{each.metric} {each.value:.3g} ({each.kind}, at most {each.high:.3g}) on {each.day}, "
            f"under {floors[each.metric]:g}"
            for each in low
        )
    due = _due(plan, facts)
    if due is not None:
        held["schedule"] = f"scheduled for {_at(due)}"
    return held


def retry_at(plan: Retrain, failed: Sequence[datetime]) -> datetime | None:
    """When a retrain may be tried again.

    Args:
        plan: The policy.
        failed: When each of the failures in a row ended, the newest first.

    Returns:
        None if none has failed.
    """
    if not failed:
        return None
    doubled = plan.backoff_minutes * 2.0 ** min(len(failed) - 1, 30)
    return failed[0] + min(timedelta(minutes=doubled), LONGEST_BACKOFF)


def _due(plan: Retrain, facts: Facts) -> datetime | None:
    """The newest scheduled moment, if it has passed since the contest and found new rows."""
    if plan.schedule is None or facts.contest is None:
        return None
    due = next(CronSim(plan.schedule, facts.now, reverse=True), None)
    if due is None or due <= facts.contest:
        return None
    return due if facts.changed or any(batch.landed <= due for batch in facts.unseen) else None


def _cooled(plan: Retrain, trigger: Trigger, facts: Facts) -> datetime:
    """From when on a trigger may train."""
    if trigger == "person" or facts.contest is None:
        return facts.now
    is_new = trigger == "new_rows"
    hours = plan.new_rows_cooldown_hours if is_new else plan.cooldown_hours
    return facts.contest + timedelta(hours=hours)


def _drift(facts: Facts) -> str:
    return f"drift in {sum(facts.windows)} of {len(facts.windows)} windows"


def _seen(plan: Retrain, facts: Facts, held: Mapping[Trigger, str]) -> list[str]:
    """What holds, and what is on its way to."""
    said = dict(held)
    if "new_rows" not in said and facts.rows:
        needed = "" if plan.new_rows is None else f" of {plan.new_rows}"
        said["new_rows"] = f"{facts.rows}{needed} new rows"
    if plan.drift is not None and any(facts.windows) and "drift" not in said:
        said["drift"] = _drift(facts)
    return list(said.values())


def _waiting(plan: Retrain, facts: Facts, held: Mapping[Trigger, str]) -> str:
    """What a use case waits for that is not trained now."""
    said = _seen(plan, facts, held)
    if not facts.rows:
        needed = "" if plan.new_rows is None else f" of {plan.new_rows}"
        said.insert(0, f"0{needed} new rows: {SAME_MODEL}")
    cooled = [_cooled(plan, trigger, facts) for trigger in held]
    if facts.rows and cooled:
        said.append(f"cooldown until {_at(min(cooled))}")
    if plan.schedule is not None and facts.contest is not None:
        following = next(CronSim(plan.schedule, facts.now), None)
        said += [f"scheduled for {_at(following)}"] if following else []
    return "; ".join(said)


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}Z"
