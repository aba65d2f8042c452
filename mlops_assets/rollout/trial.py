"""A version on trial: it passes step after step beside the champion, and each is judged.

First it answers a golden row without any traffic. Then each step gives it its part of the traffic
for its time; what the app counts is looked at ten times. Failed at any look, or not successful at
the end, it is on its way back within seconds. Whoever is killed is followed by one that goes on at
the same step, with what had been counted until the last look.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlops_assets.lib.records.history import Entry
from mlops_assets.lib.records.rollouts import AT_ITS_START, Rollouts
from mlops_assets.lib.rollout_analysis.counters import Counters, Series, grown, together
from mlops_assets.lib.rollout_analysis.judge import LOOKS, Judgement, Verdict, judge
from mlops_assets.lib.rollout_analysis.sample import sample
from mlops_assets.lib.spec.rollout import Step
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.resources.rollout_target import RolloutTarget, TargetError, problem, serves
from mlops_assets.rollout.labelled import labelled
from mlops_assets.rollout.smoke_test import smoke_test

# What a person decides is seen within this time.
POLL_SECONDS = 1.0
LAPTOP = "dev"


class FailedTrialError(Exception):
    """The version does not go on, and is not tried again: that is for a person to decide."""

    def __init__(self, said: str, verdict: Verdict) -> None:
        super().__init__(said)
        self.verdict = verdict


@dataclass
class Trial:
    """The steps of one rollout.

    Attributes:
        spec: Says which steps, and their limits.
        store: The storage root.
        target: Where the version is tried.
        rollouts: Keeps how far it has come.
        move: The decision that is carried out.
        role: ``version``, ``bundle`` and ``digest`` of the version.
        champion: The champion's role, as it was before.
        counters: What the app has counted, by source.
        desire: Writes the roles of a desired state.
        expedited: Whether a person wants the remaining steps left out; raises if the version is
            not wanted any more.
        say: Told what happens, in a line.
        judged: Told of each step that is over.
    """

    spec: UseCase
    store: Storage
    target: RolloutTarget
    rollouts: Rollouts
    move: Entry
    role: dict[str, Any]
    champion: dict[str, Any]
    counters: Callable[[], dict[str, Counters]]
    desire: Callable[[dict[str, Any]], None]
    expedited: Callable[[], bool]
    say: Callable[[str], None]
    judged: Callable[[dict[str, Any]], None]

    def run(self) -> list[dict[str, Any]]:
        """Pass the steps that are left.

        Returns:
            All steps that were begun, as ``lib.records.rollouts`` keeps them.

        Raises:
            FailedTrialError: If the version failed one, or a step came to no end.
            TargetError: If the app is away for too long, or does not follow.
        """
        steps = self.spec.rollout.steps
        plan = [f"{step}, {step.seconds:g} s" for step in steps]
        progress = self.rollouts.progress(self.move)
        if progress["ended"] is not None or progress.get("plan") != plan:
            progress |= {"plan": plan, "steps": [], "ended": None, **AT_ITS_START}
        self._progress = progress
        if not progress["steps"] and not self.expedited():
            self._smoke_test()
        for number in range(progress["step"], len(steps)):
            if self.expedited():
                self.say("the remaining steps are left out, as a person wants it")
                break
            self._pass(number, steps[number])
        return list(progress["steps"])

    def _smoke_test(self) -> None:
        """The version is loaded beside the champion, gets no traffic, and answers one question."""
        self._move({"challenger": self.role | {"percent": 0}})
        asked = self.role["version"]
        said, _ = smoke_test(self.store, self.target, self.spec, self.role, asked)
        self.say(f"smoke test: {said}")

    def _move(self, on_trial: dict[str, Any]) -> dict[str, Any]:
        roles = {"champion": self.champion, **on_trial}
        self.desire(roles)
        deadline = time.monotonic() + self.spec.rollout.timeout_seconds
        while not self.expedited():
            left = deadline - time.monotonic()
            try:
                # In parts: a person who has stopped it has written another desired state.
                self.target.wait_for(self.spec.name, roles, min(left, POLL_SECONDS))
                break
            except TargetError:
                if left <= POLL_SECONDS:
                    raise
        return roles

    def _save(self) -> None:
        self.rollouts.save(self.move, self._progress)

    def _pass(self, number: int, step: Step) -> None:
        progress = self._progress
        if len(progress["steps"]) == number:
            about = {"name": str(step), "role": step.role, "percent": step.percent}
            progress["steps"].append(about | {"seconds": step.seconds})
            self._save()
        roles = self._move({step.role: self.role | {"percent": step.percent}})
        if progress["counted"] is None:
            progress["since"] = datetime.now(UTC).isoformat()
            progress["counted"] = {name: _packed(part) for name, part in self.counters().items()}
            self._save()
        self.say(f"step {number + 1} of {len(progress['plan'])}: {progress['plan'][number]}")
        self._watch(step, roles)
        self.judged(progress["steps"][number])
        progress |= {**AT_ITS_START, "step": number + 1}
        self._save()

    def _watch(self, step: Step, roles: dict[str, Any]) -> None:
        """Look at a step until it is over, one way or the other."""
        between = step.seconds / LOOKS
        pause = min(POLL_SECONDS, between)
        seen = last = time.monotonic()
        next_look = last + between
        while not self.expedited():
            time.sleep(pause)
            now = time.monotonic()
            passed, last = now - last, now
            try:
                self._see_that_it_serves(step, roles)
                self._count_time(step, passed)
                counted = self.counters() if now >= next_look else None
            except TargetError:
                if now - seen > self.spec.rollout.timeout_seconds:
                    raise
                continue
            seen = now
            # A version that is held is looked at as well: it may be failing.
            if counted is not None:
                next_look = now + between
                if self._is_over(step, self._judge(step, counted)):
                    return

    def _count_time(self, step: Step, passed: float) -> None:
        progress, hours = self._progress, self.spec.rollout.longest_pause_hours
        is_held = self.rollouts.paused(self.move) is not None
        progress["paused_seconds" if is_held else "elapsed"] += passed
        if progress["paused_seconds"] > 3600 * hours:
            raise FailedTrialError(f"{step}: held for more than {hours:g} h", "inconclusive")

    def _see_that_it_serves(self, step: Step, roles: dict[str, Any]) -> None:
        model = self.target.model(self.spec.name)
        if serves(model, roles):
            return
        said = f"{step}: the app does not serve it any more: {problem(model)}"
        if step.role not in model["roles"] and problem(model):
            raise FailedTrialError(said, "failed")
        raise TargetError(said)

    def _judge(self, step: Step, counted: dict[str, Counters]) -> Judgement:
        found = sample(
            self._grown(counted),
            self.champion["version"],
            step.role,
            self.role["version"],
            labelled(self.store, self.spec, datetime.fromisoformat(self._progress["since"])),
        )
        judgement = judge(found, step.role, self.spec.rollout.analysis)
        self._progress["steps"][-1]["judged"] = judgement.record()
        self._save()
        elapsed = f"{self._progress['elapsed']:.0f} of {self._allowed(step):g} s"
        self.say(f"{step}, {elapsed}: {judgement.verdict}: {judgement.said}")
        return judgement

    def _grown(self, counted: dict[str, Counters]) -> Counters:
        """What was counted since the step began.

        Added up look by look: a pod that ends, or whose app is started anew, takes nothing of what
        it had counted by the look before.
        """
        progress, total = self._progress, [_unpacked(self._progress["grown"])]
        for name, part in counted.items():
            total.append(grown(_unpacked(progress["counted"].get(name, [])), part))
            progress["counted"][name] = _packed(part)
        progress["grown"] = _packed(together(total))
        return _unpacked(progress["grown"])

    def _allowed(self, step: Step) -> float:
        return step.seconds * (1 + int(self._progress["extended"]))

    def _is_over(self, step: Step, judgement: Judgement) -> bool:
        """Whether the next step may begin.

        Raises:
            FailedTrialError: If the version is to be taken back.
        """
        progress, limits = self._progress, self.spec.rollout.analysis
        if judgement.verdict == "failed":
            raise FailedTrialError(f"{step}: {judgement.said}", "failed")
        if progress["elapsed"] < self._allowed(step) or self.rollouts.paused(self.move):
            return False
        if judgement.verdict == "successful":
            return True
        if judgement.too_few and self._proceeds_without_traffic():
            self.say(f"{step}: goes on without traffic, as rollout.analysis.without_traffic says")
            return True
        if progress["extended"] < limits.retries:
            progress["extended"] += 1
            self._save()
            self.say(f"{step}: inconclusive, it gets its time once more")
            return False
        raise FailedTrialError(f"{step}: {judgement.said}", "inconclusive")

    def _proceeds_without_traffic(self) -> bool:
        said = self.spec.rollout.analysis.without_traffic
        return (said or ("proceed" if self.target.environment == LAPTOP else "back")) == "proceed"


def _packed(counted: Counters) -> list[Any]:
    """Counters as JSON-compatible values."""
    return [[*each, value] for each, value in counted.items()]


def _unpacked(packed: list[Any]) -> Counters:
    return {Series(*labels): value for *labels, value in packed}
