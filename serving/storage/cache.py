"""What a machine keeps of a remote storage: bundles by their digest, and what should serve.

Fetched once for all workers, and there when the storage is not. Nothing here is trusted: a bundle
is verified whenever it is loaded, and one that is damaged is thrown away and fetched again.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from errno import ENOSPC
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from pydantic import TypeAdapter, ValidationError

from serving.bundle.manifest import BundleError, verify
from serving.bundle.signature import ANYBODY, Trust
from serving.roles.desired import DesiredState
from serving.storage.bucket import StoreError

_PARTIAL: Final = ".partial-"
# Bundles that nobody names any more, for a way back that needs no storage.
_SPARE_BUNDLES: Final = 5
# What should serve is kept of so many storages, use cases and environments.
_MOST_KNOWN: Final = 64
_LOCK_SECONDS: Final = 60.0
_LOCK_LOOK_SECONDS: Final = 0.02

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known:
    """What should serve, as it was last followed.

    Attributes:
        identity: Of who said so.
        read_at: When they were asked.
        desired: What they said.
    """

    identity: str
    read_at: datetime
    desired: DesiredState


_KNOWN: Final = TypeAdapter(Known)


def default_folder(environ: Mapping[str, str]) -> Path:
    """Where a cache lies that nobody chose a place for: of this user, and of no other."""
    if home := environ.get("MLOPS_HOME"):
        return Path(home).absolute() / "serving-cache"
    own = environ.get("XDG_CACHE_HOME") or (environ.get("HOME") and f"{environ['HOME']}/.cache")
    if own:
        place = Path(own).absolute()
        # In a container the home may belong to somebody else, or not exist.
        if os.access(next(p for p in (place, *place.parents) if p.exists()), os.W_OK):
            return place / "mlops-serving"
    return Path(tempfile.gettempdir()) / f"mlops-serving-{os.geteuid()}"


class Cache:
    """A folder that any number of processes of one user share."""

    def __init__(self, folder: Path, trust: Trust = ANYBODY) -> None:
        """Make the folder, or take one that is there.

        Args:
            folder: Where to keep what was fetched.
            trust: Who may vouch for a bundle. One that was fetched before it was signed is fetched
                again: a signature is no part of a digest.

        Raises:
            OSError: It cannot be made, or others could change what is in it.
        """
        self._trust = trust
        own = folder / "v1"
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = own.lstat()
        open_to = stat.S_IMODE(status.st_mode) & 0o077
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or open_to:
            raise PermissionError(f"{own}: must be a folder that only this user can use (mode 700)")
        self._bundles, self._known, self._locks = (own / n for n in ("bundles", "known", "locks"))
        for each in (self._bundles, self._known, self._locks):
            each.mkdir(exist_ok=True)

    @contextmanager
    def bundle(self, digest: str, where: str, fetch: Callable[[Path], None]) -> Iterator[Path]:
        """A folder with the files of a bundle, verified, for as long as it takes to load.

        Args:
            digest: That names the bundle.
            where: Its name in the storage, for messages.
            fetch: Puts its files into a folder; asked only if they are not here.

        Raises:
            BundleError: What was fetched is not what the digest names, or from the block.
            StoreError: It cannot be fetched, or there is no room for it.
        """
        entry, partial = self._bundles / digest, self._bundles / f"{_PARTIAL}{digest}"
        try:
            try:
                with self._locked(digest):
                    fetched = not self._sound(entry, digest)
                    if fetched:
                        self._fetch(entry, partial, fetch)
                    os.utime(entry)
            except StoreError:
                raise
            except OSError as error:
                if error.errno == ENOSPC:
                    self._tidy(spare=0)
                raise StoreError(
                    f"{self._bundles}: cannot fetch and keep a bundle: {error}"
                ) from None
            if fetched:
                self._tidy(_SPARE_BUNDLES)
            yield entry
        except BundleError as error:
            # Named as it lies in the storage, and alike at every attempt.
            text = str(error).replace(str(partial), where).replace(str(entry), where)
            raise BundleError(text) from error

    def _sound(self, entry: Path, digest: str) -> bool:
        if not entry.is_dir():
            return False
        try:
            verify(entry, digest)
            self._trust.check(entry, digest)
        except BundleError as error:
            log.warning("cached bundle is not used", extra={"fields": {"problem": str(error)}})
            shutil.rmtree(entry)
            return False
        return True

    def _fetch(self, entry: Path, partial: Path, fetch: Callable[[Path], None]) -> None:
        # Whoever holds the lock is alone: what is there was left by somebody who was killed.
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            fetch(partial)
            verify(partial, entry.name)
            for path in (*partial.iterdir(), partial):
                _flush(path)
            partial.rename(entry)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _tidy(self, spare: int) -> None:
        """Take out what neither is named nor was used of late, and what killed processes left."""
        found = sorted(self._bundles.iterdir(), key=_changed, reverse=True)
        named = {role.digest for known in self._all() for role in known.desired.roles.values()}
        unnamed = [p for p in found if not p.name.startswith(_PARTIAL) and p.name not in named]
        left = [path for path in found if path.name.startswith(_PARTIAL)]
        for path in (*unnamed[spare:], *left):
            # Somebody who holds the lock is at work on it.
            with suppress(OSError), self._locked(path.name.removeprefix(_PARTIAL), 0.0):
                shutil.rmtree(path, ignore_errors=True)
        for path in sorted(self._known.iterdir(), key=_changed, reverse=True)[_MOST_KNOWN:]:
            path.unlink(missing_ok=True)

    def recall(self, identity: str) -> Known | None:
        """What should serve, as it was last followed by any process, or None."""
        known = _read(self._path(identity))
        return known if known and known.identity == identity else None

    def remember(self, known: Known) -> None:
        """Keep what should serve, unless another process has asked later.

        Raises:
            OSError: It cannot be kept. Then what was kept before is gone, too, for it may name a
                version that is withdrawn.
        """
        path = self._path(known.identity)
        partial = path.with_name(f"{_PARTIAL}{path.name}")
        try:
            with self._locked("known"):
                before = self.recall(known.identity)
                # One from the future was written before the clock was set back.
                if before and known.read_at < before.read_at <= datetime.now(UTC):
                    return
                partial.write_bytes(_KNOWN.dump_json(known))
                _flush(partial)
                partial.replace(path)
                _flush(self._known)
        except OSError:
            partial.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise

    def _path(self, identity: str) -> Path:
        return self._known / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.json"

    def _all(self) -> Iterator[Known]:
        for path in self._known.iterdir():
            if known := _read(path):
                yield known

    @contextmanager
    def _locked(self, name: str, seconds: float = _LOCK_SECONDS) -> Iterator[None]:
        """Hold a lock that ends with the process.

        Raises:
            StoreError: Another one holds it for too long.
        """
        # A few files for all names: a lock file that is removed locks nobody out.
        short = hashlib.sha256(name.encode()).hexdigest()[0]
        deadline = monotonic() + seconds
        with (self._locks / short).open("w") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if monotonic() >= deadline:
                        raise StoreError(f"{self._bundles}: another process is at it") from None
                    sleep(_LOCK_LOOK_SECONDS)
            yield


def _read(path: Path) -> Known | None:
    try:
        return _KNOWN.validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        # Not written by this version, or damaged: as good as nothing.
        return None


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
