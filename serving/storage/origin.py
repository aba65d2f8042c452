"""Who says what should serve, and where its files are.

A desired state in a storage root, which is followed; or, fixed at start, a folder or a version in
MLflow. The follower asks them all in the same way.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from serving.bundle.manifest import BundleError, folder_digest
from serving.roles.desired import CHAMPION, DesiredState, Role, read_desired
from serving.settings import Settings
from serving.storage.bucket import SCHEME, StoreError
from serving.storage.cache import Cache, Known, default_folder
from serving.storage.source import FolderSource, Source, open_source

# Unlike any real stamp.
_SILENT: Final = "silent"

log = logging.getLogger(__name__)


class Origin(Protocol):
    """What a follower asks.

    Attributes:
        name: Who says what should serve, for people.
    """

    name: str

    def stamp(self) -> str:
        """Another one whenever something else may have to serve. Asked all the time: cheap.

        Raises:
            StoreError: They do not answer.
            BundleError: They answer, and say nothing.
        """

    def read(self) -> DesiredState:
        """What should serve; raises as `stamp` does."""

    def bundle(self, role: Role) -> AbstractContextManager[Path]:
        """A local folder with the files of a bundle, for as long as it takes to load.

        Raises:
            BundleError: It is not what the role names. Not every origin looks; `Bundle.load` does.
            StoreError: It cannot be fetched.
        """

    def followed(self, desired: DesiredState) -> None:
        """Told that what should serve does. Never raises."""


class Remote(Protocol):
    """An origin that may not answer; `Remembered` makes a whole one of it.

    Attributes:
        name: Who says what should serve, for people.
        identity: The same for nobody else.
    """

    name: str
    identity: str

    def stamp(self) -> str:
        """See `Origin`."""

    def read(self) -> DesiredState:
        """See `Origin`."""

    def where(self, role: Role) -> str:
        """The place of a bundle, for people."""

    def fetch(self, role: Role, folder: Path) -> None:
        """Copy the files of a bundle, unverified, to a local folder.

        Raises:
            BundleError: They are not there, or too large.
            OSError: They cannot be fetched, or the folder does not take them.
        """


def open_cache(settings: Settings) -> Cache | None:
    """The cache of a server, if it needs one.

    Raises:
        OSError: There is no room that is safe.
    """
    remote = settings.storage_root.startswith(SCHEME) or settings.from_mlflow
    if settings.bundle or not (remote or settings.cache):
        return None
    return Cache(settings.cache or default_folder(os.environ), settings.trust())


def open_origin(use_case: str, settings: Settings, notes: Path | None = None) -> Origin:
    """The origin that the settings ask for.

    Args:
        use_case: Whose.
        settings: Of the server.
        notes: A folder that its workers share, if there are any.
    """
    pin = Pin(notes / f"fixed-{use_case}.json" if notes else None)
    cache = open_cache(settings)
    if settings.bundle:
        return FixedFolder(settings.bundle, settings.bundle_digest, pin)
    if settings.from_mlflow and cache:
        from serving.storage.mlflow import MlflowVersion

        return Remembered(
            MlflowVersion(
                settings.from_mlflow, settings.mlflow_tracking_uri, settings.bundle_digest, pin
            ),
            cache,
        )
    if cache:
        source = open_source(settings.storage_root)
        return Remembered(StoredState(source, use_case, settings), cache)
    return FolderState(FolderSource(Path(settings.storage_root)), use_case, settings)


class StoredState:
    """A desired state in a storage root."""

    def __init__(self, source: Source, use_case: str, settings: Settings) -> None:
        self._source = source
        self._use_case = use_case
        self._environment = settings.environment
        self._key = settings.desired_state(use_case)
        self.name = source.name(self._key)
        self.identity = f"{self._key} in {source.identity}"

    def stamp(self) -> str:
        try:
            return self._source.stamp(self._key)
        except FileNotFoundError as error:
            raise BundleError(f"{self.name}: no desired state: {error.strerror}") from None
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(f"{self.name}: {error.strerror}") from None

    def read(self) -> DesiredState:
        try:
            content = self._source.read(self._key)
        except StoreError:
            raise
        except OSError as error:
            raise BundleError(f"{self.name}: cannot be read: {error}") from None
        return read_desired(content, self.name, self._use_case, self._environment)

    def where(self, role: Role) -> str:
        return self._source.name(role.bundle)

    def fetch(self, role: Role, folder: Path) -> None:
        self._source.fetch(role.bundle, folder)


class FolderState(StoredState):
    """A desired state in a local folder, whose bundles are loaded from where they lie."""

    def __init__(self, source: FolderSource, use_case: str, settings: Settings) -> None:
        super().__init__(source, use_case, settings)
        self._folder = source

    @contextmanager
    def bundle(self, role: Role) -> Iterator[Path]:
        yield self._folder.local(role.bundle)

    def followed(self, desired: DesiredState) -> None:
        """Nothing to remember: the folder is as near as a cache would be."""


class Remembered:
    """A remote origin, with a cache that answers for it until it has answered once.

    Later nothing needs to: what serves is in memory, and stays.
    """

    def __init__(self, remote: Remote, cache: Cache) -> None:
        self.name = remote.name
        self._remote = remote
        self._cache = cache
        self._read_at: datetime | None = None
        self._last: DesiredState | None = None

    def stamp(self) -> str:
        try:
            stamp = self._remote.stamp()
        except StoreError as error:
            known = self._cache.recall(self._remote.identity) if self._read_at is None else None
            if known is None:
                raise
            since = f"{known.read_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
            stale = f"{error}; serving what was last known, from {since}"
            self._last = replace(known.desired, stale=stale)
            return _SILENT
        self._last = None
        return stamp

    def read(self) -> DesiredState:
        if self._last is not None:
            return self._last
        asked_at = datetime.now(UTC)
        desired = self._remote.read()
        self._read_at = asked_at
        return desired

    def bundle(self, role: Role) -> AbstractContextManager[Path]:
        return self._cache.bundle(
            role.digest, self._remote.where(role), lambda folder: self._remote.fetch(role, folder)
        )

    def followed(self, desired: DesiredState) -> None:
        if self._read_at is None:
            return
        try:
            self._cache.remember(Known(self._remote.identity, self._read_at, desired))
        except OSError as error:
            fields = {"problem": str(error)}
            log.warning("what should serve is not remembered", extra={"fields": fields})


class Pin:
    """What was found at start, for every worker of a server and whenever one starts anew."""

    def __init__(self, path: Path | None) -> None:
        """Keep it in a file that the workers share, or with None not at all."""
        self._path = path
        self._found: Role | None = None

    def once(self, find: Callable[[], Role]) -> Role:
        """What the first of the workers has found, whatever has become of it since."""
        if self._path is None:
            return find()
        if not self._path.exists():
            # The file may be gone; what this worker serves is not.
            found = self._found or find()
            partial = self._path.with_name(f"{self._path.name}-{os.getpid()}.tmp")
            partial.write_text(found.model_dump_json(), encoding="utf-8")
            # Unlike a rename, it leaves what another worker was quicker to find.
            try:
                os.link(partial, self._path)
            except FileExistsError:
                pass
            finally:
                partial.unlink()
        self._found = Role.model_validate_json(self._path.read_bytes())
        return self._found


class FixedFolder:
    """A folder with the files of one bundle."""

    def __init__(self, folder: Path, digest: str | None, pin: Pin) -> None:
        """Serve a folder.

        Args:
            folder: With the files of a bundle, and nothing else.
            digest: That it must have; without one, its own.
            pin: Remembers which one that was at start.
        """
        self.name = str(folder)
        self._folder = folder
        self._digest = digest
        self._pin = pin

    def stamp(self) -> str:
        return self.name

    def read(self) -> DesiredState:
        return DesiredState({CHAMPION: self._pin.once(self._role)})

    def _role(self) -> Role:
        digest = self._digest or folder_digest(self._folder)
        return Role(version=digest[:12], bundle=self.name, digest=digest)

    @contextmanager
    def bundle(self, role: Role) -> Iterator[Path]:
        yield Path(role.bundle)

    def followed(self, desired: DesiredState) -> None:
        """Nothing to remember: it is there for as long as the folder is."""
