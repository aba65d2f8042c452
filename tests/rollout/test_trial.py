"""The steps of a rollout, by themselves: an app that only follows and counts, and a clock.

The app and the time are scripted here, so that a step of ten minutes takes none; storage, records
and analysis are real. `test_steps.py` has the real app.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.lib.records.rollouts import Rollouts
from mlops_assets.lib.rollout_analysis.counters import ANSWERS, ERRORS, SCORES, SHADOW, Series
from mlops_assets.lib.spec.rollout import Rollout
from mlops_assets.lib.spec.specs import load_spec
from mlops_assets.lib.storage.root import Storage
from mlops_assets.resources.rollout_target import RolloutTarget, TargetError
from mlops_assets.rollout import trial
from mlops_assets.rollout.trial import FailedTrialError, Trial
from tests.rollout.test_labelled import answered

STEPS = [
    {"shadow": 100, "minutes": 10},
    {"canary": 10, "minutes": 10},
    {"canary": 50, "minutes": 10},
]
MOVE = {"sequence": 7, "version": "2", "bundle": "b" * 64, "path": "heart_disease/bundles/b"}
CHAMPION = {"version": "1", "digest": "a" * 64, "bundle": "heart_disease/bundles/a", "percent": 100}
ROLE = {"version": "2", "digest": "b" * 64, "bundle": "heart_disease/bundles/b"}
EXPECTED = 0.25


class Killed(BaseException):
    """As ``kill -9``: nobody catches it."""


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.late = 1.0
        self.alarms: list[tuple[float, Callable[[], object]]] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds * self.late
        while self.alarms and self.alarms[0][0] <= self.now:
            self.alarms.pop(0)[1]()


class Scripted:
    """An app that follows at once, and counts requests by the clock."""

    environment = "dev"

    def __init__(self, clock: Clock, rate: float = 20.0) -> None:
        self.clock = clock
        self.rate = rate
        self.roles: dict[str, Any] = {"champion": CHAMPION}
        self.errors = 0.0
        self.away = False
        self.off: str | None = None
        self.kill_in: int | None = None
        self.pod = "first"
        self._counted: dict[Series, float] = {}
        self._at = 0.0

    def called(self) -> None:
        """Count down to a kill."""
        if self.kill_in is not None:
            self.kill_in -= 1
            if self.kill_in < 0:
                self.kill_in = None
                raise Killed

    def desire(self, roles: dict[str, Any]) -> None:
        self.called()
        self._count()
        self.roles = roles

    def wait_for(self, use_case: str, roles: dict[str, Any], timeout: float) -> float:
        self.called()
        assert roles == self.roles
        return 0.0

    def predict(self, use_case: str, row: dict[str, Any], version: str | None) -> dict[str, Any]:
        self.called()
        assert version == "2"
        return {"version": "2", "digest": ROLE["digest"], "probability": EXPECTED}

    def model(self, use_case: str) -> dict[str, Any]:
        self.called()
        if self.away:
            raise TargetError("no serving app answers")
        roles = {n: r for n, r in self.roles.items() if n == "champion" or self.off is None}
        trial = {n: {"problem": self.off} for n in self.roles if n != "champion"}
        return {"roles": roles, "problem": None, "on_trial": trial}

    def counters(self) -> dict[str, dict[Series, float]]:
        self.called()
        self._count()
        return {self.pod: dict(self._counted)}

    def replace_pod(self, name: str) -> None:
        """A pod ends and another one is there; of the same name, if it was only started anew."""
        self._count()
        self.pod, self._counted = name, {}

    def _count(self) -> None:
        requests, self._at = self.rate * (self.clock.now - self._at), self.clock.now
        canary = self.roles.get("challenger", {}).get("percent", 0) / 100
        shadow = self.roles.get("shadow", {}).get("percent", 0) / 100
        parts = {"champion": 1 - canary, "challenger": canary, "shadow": shadow}
        for role, part in parts.items():
            version, failed = ("1", 0.0) if role == "champion" else ("2", self.errors)
            self._add(Series(ERRORS, role, version, reason="failed"), requests * part * failed)
            for name, end in ((ANSWERS, "0.01"), (SCORES, "0.3")):
                for le in (end, "+Inf"):
                    self._add(Series(name, role, version, le), requests * part * (1 - failed))
        self._add(Series(SHADOW, outcome="agreed"), requests * shadow)

    def _add(self, series: Series, value: float) -> None:
        self._counted[series] = self._counted.get(series, 0.0) + value


class Stage:
    """A trial that may be begun again and again."""

    def __init__(self, folder: Path, clock: Clock, rate: float = 20.0, **rules: Any) -> None:
        spec = load_spec("heart_disease")
        self.store = Storage(folder)
        columns = {column.name: [1] for column in spec.contract.inputs}
        golden = self.store.local(ROLE["bundle"]) / "golden.parquet"
        golden.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(columns | {"expected_probability": [EXPECTED]}).write_parquet(golden)
        rules = {"steps": STEPS, **rules}
        self.spec = spec.model_copy(update={"rollout": Rollout.model_validate(rules)})
        self.app = Scripted(clock, rate)
        self.rollouts = Rollouts(self.store, spec.name, "dev")
        self.seen: list[tuple[str, float]] = []
        self.said: list[str] = []
        self.expedited = False

    def desire(self, roles: dict[str, Any]) -> None:
        self.app.desire(roles)
        assert roles["champion"] == CHAMPION
        (on_trial,) = [(n, r["percent"]) for n, r in roles.items() if n != "champion"]
        if not self.seen or self.seen[-1] != on_trial:
            self.seen.append(on_trial)

    def run(self) -> list[dict[str, Any]]:
        app = self.app
        return Trial(
            self.spec,
            self.store,
            cast(RolloutTarget, app),
            self.rollouts,
            MOVE,
            ROLE,
            CHAMPION,
            app.counters,
            self.desire,
            lambda: self.expedited,
            self.said.append,
            lambda _: None,
        ).run()


PLAN = [("challenger", 0), ("shadow", 100), ("challenger", 10), ("challenger", 50)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(trial, "time", made)
    return made


@pytest.fixture
def stage(tmp_path: Path, clock: Clock) -> Callable[..., Stage]:
    return lambda rate=20.0, **rules: Stage(tmp_path, clock, rate, **rules)


def test_every_step_takes_its_time_and_is_judged(stage: Callable[..., Stage], clock: Clock) -> None:
    made = stage()
    steps = made.run()
    assert made.seen == PLAN
    assert [step["judged"]["verdict"] for step in steps] == ["successful"] * 3
    assert clock.now == pytest.approx(1800, rel=0.01)
    assert made.rollouts.progress(MOVE)["step"] == 3


@pytest.mark.parametrize("name", ["first", "second"])
def test_what_a_pod_counted_outlives_it(
    stage: Callable[..., Stage], clock: Clock, name: str
) -> None:
    made = stage(rate=50.0, steps=STEPS[1:2])
    made.app.errors = 0.003
    # Right after the ninth look of ten.
    clock.alarms.append((541.5, lambda: made.app.replace_pod(name)))
    (step,) = made.run()
    (errors,) = [m for m in step["judged"]["measures"] if m["name"].startswith("error")]
    assert errors["rows"] == pytest.approx(0.1 * 50 * 600, rel=0.02)


def test_labels_that_come_in_time_are_asked(stage: Callable[..., Stage], clock: Clock) -> None:
    made = stage(steps=STEPS[:1])
    clock.alarms.append((300.0, lambda: answered(made.store)))
    with pytest.raises(FailedTrialError, match="shadow 100 %: wrong answers"):
        made.run()
    assert clock.now < 400


@settings(max_examples=15)
@given(kills=st.lists(st.integers(0, 130), min_size=1, max_size=4))
def test_a_kill_at_any_point_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, kills: list[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(trial, "time", clock)
        short = [step | {"minutes": 0.5} for step in STEPS]
        made = Stage(tmp_path_factory.mktemp("killed"), clock, rate=100.0, steps=short)
        for kill in kills:
            made.app.kill_in = kill
            try:
                made.run()
            except Killed:
                continue
        made.app.kill_in = None
        steps = made.run()
    assert [step["judged"]["verdict"] for step in steps] == ["successful"] * 3
    # Whoever goes on begins at the same step, and never at an earlier one: only the smoke test,
    # which gets no traffic, may come again before the first.
    assert made.seen == PLAN
    assert clock.now >= 89


@pytest.mark.parametrize("errors", [0.03, 0.2, 1.0])
def test_a_version_that_fails_is_seen_long_before_the_end(
    stage: Callable[..., Stage], clock: Clock, errors: float
) -> None:
    made = stage(rate=50.0, steps=STEPS[1:])
    made.app.errors = errors
    with pytest.raises(FailedTrialError, match=r"canary 10 %: error rate") as caught:
        made.run()
    assert caught.value.verdict == "failed"
    assert clock.now < 600


def test_without_traffic_a_laptop_goes_on_and_production_goes_back(
    stage: Callable[..., Stage], clock: Clock
) -> None:
    laptop = stage(rate=0.0)
    assert [s["judged"]["verdict"] for s in laptop.run()] == ["inconclusive"] * 3
    assert clock.now == pytest.approx(1800, rel=0.01)
    for environment, policy in (("production", None), ("dev", "back")):
        made = stage(rate=0.0, analysis={"retries": 2, "without_traffic": policy})
        made.app.environment = environment
        made.rollouts.save(MOVE, made.rollouts.progress(MOVE) | {"ended": "aborted"})
        began = clock.now
        with pytest.raises(FailedTrialError, match="too little traffic: 0 rows") as caught:
            made.run()
        assert caught.value.verdict == "inconclusive"
        assert clock.now - began == pytest.approx(3 * 600, rel=0.01)


def test_what_is_held_waits_and_is_still_looked_at(
    stage: Callable[..., Stage], clock: Clock
) -> None:
    made = stage(longest_pause_hours=1)
    made.rollouts.hold(MOVE, True, "ann", "lunch")
    with pytest.raises(FailedTrialError, match="held for more than 1 h"):
        made.run()
    assert clock.now == pytest.approx(3600, rel=0.01)
    made.rollouts.save(MOVE, made.rollouts.progress(MOVE) | {"ended": "aborted"})
    made.app.errors = 0.5
    with pytest.raises(FailedTrialError, match="error rate"):
        made.run()


def test_a_step_that_is_held_is_not_left_though_its_time_is_over(
    stage: Callable[..., Stage], clock: Clock
) -> None:
    made = stage()
    # On a slow machine the last look is later than the end of the step.
    clock.late = 1.3
    clock.alarms = [
        (605.0, lambda: made.rollouts.hold(MOVE, True, "ann", "lunch")),
        (900.0, lambda: made.seen.append(("still", 0.0))),
        (905.0, lambda: made.rollouts.hold(MOVE, False, "ann", "back")),
    ]
    made.run()
    assert made.seen.index(("still", 0.0)) == PLAN.index(("challenger", 10))
    assert clock.now > 1800 + 290


def test_what_is_hurried_leaves_the_rest_out(stage: Callable[..., Stage]) -> None:
    made = stage()
    made.expedited = True
    assert made.run() == []
    assert made.seen == []


def test_an_app_that_is_away_is_waited_for_and_not_for_ever(
    stage: Callable[..., Stage], clock: Clock
) -> None:
    made = stage(timeout_seconds=30)
    usual = made.app.model

    def model(use_case: str) -> dict[str, Any]:
        made.app.away = 100 < clock.now < 120 or clock.now > 700
        return usual(use_case)

    made.app.model = model  # type: ignore[method-assign]
    with pytest.raises(TargetError, match="no serving app answers"):
        made.run()
    assert clock.now == pytest.approx(731, abs=2)
    assert made.rollouts.progress(MOVE)["step"] == 1


def test_a_version_that_took_its_worker_down_is_not_given_time(
    stage: Callable[..., Stage], clock: Clock
) -> None:
    made = stage()
    made.app.off = "version 2 is off: worker 1 crashed"
    with pytest.raises(FailedTrialError, match="is off: worker 1 crashed"):
        made.run()
    assert clock.now < 5
