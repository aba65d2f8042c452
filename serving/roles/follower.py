"""Follows what should serve of one use case: the one place that decides which bundles serve.

A deployment writes a small file; every server looks at it and moves by itself. Whatever goes wrong
on the way, a bad file or a bad bundle, the champion that serves goes on serving and the reason is
shown. Only a state that names no champion stops it. A challenger or a shadow that goes wrong is
left out.
"""

import logging
import math
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic
from typing import Final, TypeVar

from serving.bundle.loaded import Bundle
from serving.bundle.manifest import BundleError
from serving.metrics import Metrics
from serving.prediction_log.log import PredictionLog
from serving.prediction_log.streams import Predictions
from serving.roles.desired import CHAMPION, ON_TRIAL, DesiredState, Role
from serving.roles.lane import Lane
from serving.roles.suspects import Suspects
from serving.settings import Settings
from serving.storage.bucket import StoreError
from serving.storage.origin import Origin

_LONGEST_RETRY_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 2.0

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Served:
    """A bundle that serves, and as what. Replaced as a whole, never changed.

    Attributes:
        name: Of its role.
        role: What the desired state says of it.
        bundle: What answers.
        lane: Where it answers.
        stream: How its answers are recorded.
        loaded_at: When it began to serve as this.
    """

    name: str
    role: Role
    bundle: Bundle
    lane: Lane
    stream: Predictions
    loaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class Following:
    """What one look led to. Replaced as a whole, so that no reader sees half of a change.

    Attributes:
        roles: What serves, by role.
        desired: The last desired state that could be read, or None.
        problem: Why the champion is not what is wanted, or None.
        trial_problems: Why a challenger or a shadow is not what is wanted, by role.
        looked: Whether the desired state was looked at at all.
    """

    roles: Mapping[str, Served] = field(default_factory=dict)
    desired: DesiredState | None = None
    problem: str | None = None
    trial_problems: Mapping[str, str] = field(default_factory=dict)
    looked: bool = True

    @property
    def champion(self) -> Served | None:
        """Who answers, unless a challenger does."""
        return self.roles.get(CHAMPION)


class Follower:
    """Keeps what serves what the desired state asks for.

    `look` runs in a thread of its own, so that neither slow storage nor loading holds up an answer.
    Everybody else only reads `state`.

    Attributes:
        state: What the last look led to.
        where: Who says what should serve.
    """

    def __init__(
        self,
        use_case: str,
        settings: Settings,
        origin: Origin,
        metrics: Metrics,
        log: PredictionLog,
        suspects: Suspects | None = None,
    ) -> None:
        """Start with nothing to serve.

        Args:
            use_case: What is served.
            settings: For the pace, and the length of queues.
            origin: Says what should serve, and gives its files.
            metrics: Counts swaps and failures.
            log: Where answers will be recorded.
            suspects: Who was on trial when a worker crashed; None without a supervisor.
        """
        self._use_case = use_case
        self._settings = settings
        self._trust = settings.trust()
        self._origin = origin
        self.where = origin.name
        self._metrics = metrics
        self._log = log
        self._suspects = suspects
        self.state = Following(problem=f"{self.where}: not looked at yet", looked=False)
        # Unlike any real stamp, so that the first look is a change.
        self._stamp: tuple[str | None, int] = ("never", 0)
        self._retry_at = math.inf
        self._delay = 0.0
        self._stopped = threading.Event()
        # A daemon: storage that does not answer must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=f"follow-{use_case}", daemon=True)

    def start(self) -> None:
        """Look at the desired state every `poll_seconds` from now on, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more. A look that has begun may finish, but is not waited for long."""
        self._stopped.set()
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.look()
            self._stopped.wait(self._settings.poll_seconds)

    def look(self) -> None:
        """Look once and follow a change. Never raises: what fails becomes a problem."""
        stamp, absent = None, None
        try:
            stamp = self._origin.stamp()
        except (BundleError, StoreError) as error:
            absent = str(error)
        changed = (stamp, self._suspects.stamp() if self._suspects else 0)
        if changed != self._stamp:
            self._stamp, self._delay = changed, 0.0
        elif monotonic() < self._retry_at:
            return
        self._retry_at = math.inf
        before = self.state
        state = Following(before.roles, before.desired, absent, before.trial_problems)
        if absent is None:
            followed, problem = self._attempt(lambda: self._follow(before), before.problem)
            # What failed may have put a champion to serve before.
            state = followed or replace(self.state, problem=problem, looked=True)
        self.state = state
        self._metrics.follows(
            self._use_case, {n: (s.role.version, s.role.digest) for n, s in state.roles.items()}
        )
        self._tell(before, state)

    def _follow(self, before: Following) -> Following:
        desired, problem = self._attempt(self._origin.read, before.problem)
        if desired is None:
            serves = before.roles
            if not before.looked and (good := self._last_good()):
                serves = {CHAMPION: good}
            return Following(serves, before.desired, problem, before.trial_problems)
        roles: dict[str, Served] = {}
        role = desired.roles.get(CHAMPION)
        if role is None:
            problem = f"{self.where}: withdrawn: names no {CHAMPION}"
            self._origin.followed(desired)
        else:
            champion, problem = self._attempt(
                lambda: self._serve(CHAMPION, role, before), before.problem
            )
            if champion is not None:
                self._origin.followed(desired)
            champion = champion or before.champion or self._last_good()
            if champion is not None:
                roles[CHAMPION] = champion
        noted = None
        if role is None or CHAMPION in roles:
            now = roles.get(CHAMPION)
            _, noted = self._attempt(
                lambda: self._note_good(now.role if now else None), before.problem
            )
        problem = "; ".join(each for each in (desired.stale, problem, noted) if each) or None
        # The champion answers before the others are loaded, which may take a crash.
        kept = {n: s for n, s in before.roles.items() if n in ON_TRIAL and self._wanted(desired, s)}
        self.state = Following({**roles, **kept}, desired, problem, before.trial_problems)
        trial_problems = self._follow_trials(desired, before, roles)
        return Following(roles, desired, problem, trial_problems)

    def _note_good(self, role: Role | None) -> None:
        if self._suspects:
            self._suspects.note_good(self._use_case, role.model_dump() if role else None)

    def _last_good(self) -> Served | None:
        """What other workers of this server serve, or this one did before it was started anew."""
        good = self._suspects.last_good(self._use_case) if self._suspects else None
        if good is None:
            return None
        role = Role.model_validate(good)
        return self._attempt(lambda: self._serve(CHAMPION, role, Following()), None)[0]

    def _follow_trials(
        self, desired: DesiredState, before: Following, roles: dict[str, Served]
    ) -> Mapping[str, str]:
        problems = dict(desired.problems)
        wanted = {name: role for name in ON_TRIAL if (role := desired.roles.get(name))}
        off = self._suspects.reasons() if self._suspects else {}
        for name in [name for name, role in wanted.items() if role.digest in off]:
            role = wanted.pop(name)
            problems[name] = f"version {role.version} is off: {off[role.digest]}"
        champion = desired.roles.get(CHAMPION)
        tried = {role.digest for role in wanted.values()} - {champion.digest if champion else ""}
        _, problem = self._attempt(lambda: self._note_trials(tried), None)
        if problem is not None:
            # A crash would find nobody to turn off.
            for name in [name for name, role in wanted.items() if role.digest in tried]:
                del wanted[name]
                problems[name] = problem
        for name, role in wanted.items():
            served, problem = self._attempt(
                lambda name=name, role=role: self._serve(name, role, before),  # type: ignore[misc]
                before.trial_problems.get(name),
            )
            if served is not None:
                roles[name] = served
            elif problem is not None:
                problems[name] = problem
        return problems

    def _note_trials(self, digests: Collection[str]) -> None:
        if self._suspects:
            self._suspects.note(self._settings.worker, self._use_case, digests)

    def _wanted(self, desired: DesiredState, served: Served) -> bool:
        off = self._suspects.reasons() if self._suspects else {}
        return desired.roles.get(served.name) == served.role and served.role.digest not in off

    def _serve(self, name: str, role: Role, before: Following) -> Served:
        current = before.roles.get(name)
        if current is not None and current.role == role:
            return current
        for each in before.roles.values():
            # A path that names another bundle is looked at, and refused, before it matters.
            if (each.role.digest, each.role.bundle) == (role.digest, role.bundle):
                # The same content in another role, version or share: nothing to load.
                return self._served(name, role, each.bundle, each.lane)
        with self._origin.bundle(role) as folder:
            bundle = Bundle.load(folder, role.digest, self._use_case, self._trust)
        lane = Lane(bundle, self._settings.queue_rows, self._metrics.batch(self._use_case))
        return self._served(name, role, bundle, lane)

    def _served(self, name: str, role: Role, bundle: Bundle, lane: Lane) -> Served:
        return Served(name, role, bundle, lane, self._log.predictions(bundle, name, role.version))

    def _attempt(self, step: Callable[[], T], known: str | None) -> tuple[T | None, str | None]:
        """Try a step; a failure is told, and tried again later."""
        try:
            return step(), None
        except (BundleError, StoreError) as error:
            problem = str(error)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            if problem != known:
                log.error("unexpected error", exc_info=error)
        # The same state may turn good later: files of a bundle can still be arriving.
        self._delay = min(max(2 * self._delay, self._settings.poll_seconds), _LONGEST_RETRY_SECONDS)
        self._retry_at = monotonic() + self._delay
        self._metrics.failed(self._use_case)
        return None, problem

    def _tell(self, before: Following, now: Following) -> None:
        for name, served in now.roles.items():
            if before.roles.get(name) is not served:
                facts = {"use_case": self._use_case, "role": name, **served.role.model_dump()}
                facts["golden_rows"] = served.bundle.golden_rows
                self._metrics.swapped(self._use_case)
                log.info("serving", extra={"fields": facts})
        if now.problem is not None and now.problem != before.problem:
            log.warning("desired state not followed", extra={"fields": {"problem": now.problem}})
        for name, problem in now.trial_problems.items():
            if problem != before.trial_problems.get(name):
                fields = {"role": name, "problem": problem}
                log.warning("desired state not followed", extra={"fields": fields})
