"""One use case as a process serves it: who answers a request, and who else gets to see it.

The champion answers unless a challenger does. A challenger that refuses the row, fails or takes too
long is replaced by the champion, and after some failures in a row it is left alone for a while. A
shadow sees a row only after it was answered, and only while it keeps up.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Any, Final

from serving.bundle.contract import Row, RowError
from serving.bundle.features import FeatureError
from serving.metrics import Metrics
from serving.roles.desired import CHALLENGER, CHAMPION, SHADOW
from serving.roles.follower import Follower, Following, Served
from serving.roles.lane import BusyError, LateError, Scored
from serving.roles.routing import place
from serving.settings import Settings

# So many failures in a row, and a challenger is left alone for so long.
_FAILURES: Final = 5
_REST_SECONDS: Final = 30.0
# Rows that a shadow may be behind; then it misses some.
_SHADOW_ROWS: Final = 64

log = logging.getLogger(__name__)


class NothingServesError(Exception):
    """There is no champion yet, or none any more."""


class VersionError(LookupError):
    """A version that was asked for by name does not answer. The message says which do."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered, and by whom.

    Attributes:
        served: The bundle that computed all of it, with its role and version.
        rows: The rows as its contract read them.
        scored: Probabilities and features.
    """

    served: Served
    rows: Sequence[Row]
    scored: Scored


class UseCase:
    """Answers requests of one use case."""

    def __init__(self, name: str, settings: Settings, follower: Follower, metrics: Metrics) -> None:
        """Answer by what the follower says serves.

        Args:
            name: Of the use case.
            settings: For deadlines.
            follower: Knows what serves.
            metrics: Counts fallbacks and shadows.
        """
        self.name: Final = name
        self.follower: Final = follower
        self._settings = settings
        self._metrics = metrics
        self._failures = 0
        self._resting_until = 0.0
        # What nobody awaits is kept here, or it could be collected before it is done.
        self._shadowing: set[asyncio.Task[None]] = set()

    async def answer(
        self, payloads: Sequence[object], key: str, tell: Callable[[Answer], Any]
    ) -> Answer:
        """Compute the answer to the rows of one request.

        Args:
            payloads: What the request holds for each row, at least one.
            key: Whose request it is: the same key is answered by the same version.
            tell: Told of every answer that is worth keeping, a shadow's included.

        Raises:
            NothingServesError: There is no champion.
            RowError: A row breaks the champion's contract.
            FeatureError: The feature SQL cannot compute a row.
            BusyError: Too many rows are waiting.
            LateError: The rows had to wait for too long.
        """
        state = self.follower.state
        champion = state.champion
        if champion is None:
            raise NothingServesError
        rows = read_rows(champion, payloads)
        answer = None
        challenger = state.roles.get(CHALLENGER)
        if challenger is not None and self._chosen(state, challenger, "challenger", key):
            answer = await self._challenge(challenger, champion, payloads, rows)
        if answer is None:
            scored = await self._score(champion, rows)
            answer = Answer(champion, rows, scored)
        tell(answer)
        shadow = state.roles.get(SHADOW)
        if shadow is not None and self._chosen(state, shadow, "shadow", key):
            task = asyncio.create_task(self._cast(shadow, champion, payloads, rows, answer, tell))
            self._shadowing.add(task)
            task.add_done_callback(self._shadowing.discard)
        return answer

    @property
    def versions(self) -> list[str]:
        """The versions that answer, the champion's first."""
        return [served.role.version for served in self._answering()]

    def find(self, version: str | None = None) -> Served:
        """Who answers a request that is for a version, or for none.

        Args:
            version: A champion's or a challenger's; the champion's without it.

        Raises:
            NothingServesError: There is no champion.
            VersionError: The version does not answer.
        """
        answering = self._answering()
        if not answering:
            raise NothingServesError
        if version is None:
            return answering[0]
        for served in answering:
            if served.role.version == version:
                return served
        versions = " or ".join(served.role.version for served in answering)
        raise VersionError(f"{self.name}: this version does not answer; ask version {versions}")

    def _answering(self) -> list[Served]:
        roles = self.follower.state.roles
        found = [roles[role] for role in (CHAMPION, CHALLENGER) if role in roles]
        # Without a champion nothing is answered.
        return found if CHAMPION in roles else []

    async def answer_by(
        self, version: str, payloads: Sequence[object], tell: Callable[[Answer], Any]
    ) -> Answer:
        """Compute the answer that one version gives: no share, no fallback, no shadow.

        Args:
            version: A champion's or a challenger's.
            payloads: See `answer`, which raises the same errors.
            tell: Told of the answer.

        Raises:
            VersionError: The version does not answer.
        """
        served = self.find(version)
        rows = read_rows(served, payloads)
        answer = Answer(served, rows, await self._score(served, rows))
        tell(answer)
        return answer

    async def _score(self, served: Served, rows: Sequence[Row]) -> Scored:
        """Have rows computed by whoever must, and record how that went."""
        about, started = (self.name, served.name, served.role.version), perf_counter()
        try:
            scored = await served.lane.submit(rows, self._settings.answer_seconds)
        except Exception as error:
            self._metrics.unanswered(*about, _reason(error))
            raise
        self._metrics.answered(*about, perf_counter() - started)
        return scored

    def _chosen(self, state: Following, served: Served, purpose: str, key: str) -> bool:
        percent = served.role.percent
        if percent >= 100 or percent <= 0:
            return percent >= 100
        salt = state.desired.salt if state.desired else ""
        return place(salt, f"{self.name} {purpose}", key) < percent

    async def _challenge(
        self, challenger: Served, champion: Served, payloads: Sequence[object], rows: Sequence[Row]
    ) -> Answer | None:
        about, started = (self.name, CHALLENGER, challenger.role.version), perf_counter()
        reason = "resting"
        try:
            if monotonic() >= self._resting_until:
                own = _own_rows(challenger, champion, payloads, rows)
                async with asyncio.timeout(self._settings.challenger_seconds):
                    scored = await challenger.lane.submit(own, self._settings.challenger_seconds)
                self._failures = 0
                self._metrics.answered(*about, perf_counter() - started)
                return Answer(challenger, own, scored)
        except Exception as error:
            reason = _reason(error)
            if reason == "refused":
                # The row's fault, or the contract's: no reason to leave the challenger alone.
                fields = {"error": type(error).__name__}
                log.debug("challenger refused", extra={"fields": fields})
            else:
                self._note_failure(challenger, error)
        self._metrics.fallback(self.name, reason)
        self._metrics.unanswered(*about, reason)
        return None

    def _note_failure(self, challenger: Served, error: Exception) -> None:
        self._failures += 1
        if self._failures < _FAILURES:
            return
        self._failures = 0
        self._resting_until = monotonic() + _REST_SECONDS
        fields = {
            "use_case": self.name,
            "version": challenger.role.version,
            "seconds": _REST_SECONDS,
            "problem": f"{type(error).__name__}: {error}"[:300],
        }
        log.warning("challenger left alone", extra={"fields": fields})

    async def _cast(
        self,
        shadow: Served,
        champion: Served,
        payloads: Sequence[object],
        rows: Sequence[Row],
        answer: Answer,
        tell: Callable[[Answer], Any],
    ) -> None:
        count = len(rows)
        if shadow.lane.waiting + count > max(_SHADOW_ROWS, count):
            self._metrics.shadow(self.name, "dropped", count)
            return
        try:
            own = _own_rows(shadow, champion, payloads, rows)
            scored = await self._score(shadow, own)
        except (BusyError, LateError):
            self._metrics.shadow(self.name, "dropped", count)
            return
        except Exception as error:
            self._metrics.shadow(self.name, "failed", count)
            if isinstance(error, RowError):  # what is wrong with the scores `_score` has counted
                self._metrics.unanswered(self.name, SHADOW, shadow.role.version, "refused")
            log.debug("shadow failed", extra={"fields": {"error": type(error).__name__}})
            return
        tell(Answer(shadow, own, scored))
        answered, cast = answer.scored.probabilities.tolist(), scored.probabilities.tolist()
        version = shadow.role.version
        for ours, theirs in zip(answered, cast, strict=True):
            same = answer.served.bundle.classify(ours) == shadow.bundle.classify(theirs)
            self._metrics.shadow(self.name, "agreed" if same else "disagreed", 1)
            self._metrics.shadow_score(self.name, version, theirs, abs(ours - theirs))


def read_rows(served: Served, payloads: Sequence[object]) -> list[Row]:
    """Read the rows of one request by the contract of who answers them.

    Raises:
        RowError: A row breaks it.
    """
    contract = served.bundle.contract
    if len(payloads) == 1:
        return [contract.validate_row(payloads[0])]
    return contract.validate_rows(payloads)


def _own_rows(
    served: Served, champion: Served, payloads: Sequence[object], rows: Sequence[Row]
) -> Sequence[Row]:
    # Nearly always the contract is the same, and so is what it made of the rows.
    same = served.bundle.contract_digest == champion.bundle.contract_digest
    return rows if same else read_rows(served, payloads)


def _reason(error: Exception) -> str:
    """In a word, why a version did not answer."""
    if isinstance(error, RowError | FeatureError):
        return "refused"
    late = isinstance(error, BusyError | LateError | TimeoutError)
    return "late" if late else "failed"
