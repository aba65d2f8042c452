"""Follows the desired state: the one place that decides which bundle serves.

A deployment writes a small file; every server looks at it and moves by itself. Whatever goes wrong
on the way, a bad file or a bad bundle, the bundle that serves goes on serving and the reason is
shown. Only a state that names no champion stops it.
"""

import json
import logging
import math
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.bundle.loaded import Bundle
from serving.bundle.manifest import BundleError
from serving.metrics import Metrics
from serving.settings import Settings
from serving.storage.bucket import StoreError
from serving.storage.source import open_source

_CHAMPION: Final = "champion"
_LONGEST_RETRY_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 2.0

log = logging.getLogger(__name__)


class Role(BaseModel):
    """Which bundle a role is played by."""

    model_config = ConfigDict(frozen=True)

    version: str
    bundle: str
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class DesiredState(BaseModel):
    """What should serve. Roles are read one by one, so that an unknown one does no harm."""

    schema_version: Literal[1]
    use_case: str
    environment: str
    roles: dict[str, Any]


@dataclass(frozen=True)
class Served:
    """A bundle that serves, and as what. Replaced as a whole, never changed."""

    role: Role
    bundle: Bundle
    loaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class Following:
    """What one look led to. Replaced as a whole, so that no reader sees half of a change.

    Attributes:
        current: What serves, or None.
        desired: The champion that the last readable desired state named, or None.
        problem: Why `current` is not what is wanted, or None.
        looked: Whether the desired state was looked at at all.
    """

    current: Served | None = None
    desired: Role | None = None
    problem: str | None = None
    looked: bool = True


class Follower:
    """Keeps what serves what the desired state asks for.

    `look` runs in a thread of its own, so that neither slow storage nor loading holds up an answer.
    Everybody else only reads `state`.

    Attributes:
        state: What the last look led to.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Start with nothing to serve."""
        self._settings = settings
        self._trust = settings.trust()
        self._source = open_source(settings.storage_root)
        self._where = self._source.name(settings.desired_state)
        self._metrics = metrics
        self.state = Following(problem=f"{self._where}: not looked at yet", looked=False)
        # Unlike any real stamp, so that the first look is a change.
        self._stamp: str | None = "never"
        self._retry_at = math.inf
        self._delay = 0.0
        self._stopped = threading.Event()
        # A daemon: storage that does not answer must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

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
        """Look once and follow a change. Never raises: what fails becomes `problem`."""
        stamp, absent = None, None
        try:
            stamp = self._source.stamp(self._settings.desired_state)
        except StoreError as error:
            absent = str(error)
        except OSError as error:
            absent = f"{self._where}: no desired state: {error.strerror}"
        if stamp != self._stamp:
            self._stamp, self._delay = stamp, 0.0
        elif monotonic() < self._retry_at:
            return
        self._retry_at = math.inf
        before = self.state
        current, desired, problem = before.current, before.desired, absent
        try:
            if absent is None:
                desired = self._read_champion()
                current = self._follow(desired)
                if current is None:
                    problem = f"{self._where}: withdrawn: names no {_CHAMPION}"
        except (BundleError, StoreError) as error:
            problem = self._failed(str(error))
        except Exception as error:
            problem = self._failed(f"{type(error).__name__}: {error}", unexpected=error)
        if problem is not None and problem != before.problem:
            log.warning("desired state not followed", extra={"fields": {"problem": problem}})
        self.state = Following(current, desired, problem)

    def _follow(self, champion: Role | None) -> Served | None:
        if champion is None:
            self._metrics.withdrawn()
            return None
        current = self.state.current
        if current is not None and current.role == champion:
            return current
        if current is not None and current.role.digest == champion.digest:
            bundle = current.bundle
        else:
            with self._source.bundle(champion.bundle) as folder:
                bundle = Bundle.load(folder, champion.digest, self._settings.use_case, self._trust)
        self._metrics.swapped(champion.version, champion.digest)
        log.info(
            "serving",
            extra={"fields": {**champion.model_dump(), "golden_rows": bundle.golden_rows}},
        )
        return Served(champion, bundle)

    def _read_champion(self) -> Role | None:
        settings, where = self._settings, self._where
        try:
            content = self._source.read(settings.desired_state)
            state = DesiredState.model_validate(json.loads(content))
            champion = state.roles.get(_CHAMPION)
            role = None if champion is None else Role.model_validate(champion)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise BundleError(
                f"{where}: {field}: {first['msg']}, found {first['input']!r:.80}"
            ) from None
        except StoreError:
            raise
        except (OSError, ValueError, RecursionError) as error:
            raise BundleError(f"{where}: cannot be read: {error}") from None
        for name, expected in (
            ("use_case", settings.use_case),
            ("environment", settings.environment),
        ):
            if (found := getattr(state, name)) != expected:
                raise BundleError(f"{where}: {name}: expected {expected!r}, found {found!r:.80}")
        return role

    def _failed(self, problem: str, unexpected: Exception | None = None) -> str:
        # The same state may turn good later: files of a bundle can still be arriving.
        self._delay = min(max(2 * self._delay, self._settings.poll_seconds), _LONGEST_RETRY_SECONDS)
        self._retry_at = monotonic() + self._delay
        self._metrics.failed()
        if unexpected is not None and problem != self.state.problem:
            log.error("unexpected error", exc_info=unexpected)
        return problem
