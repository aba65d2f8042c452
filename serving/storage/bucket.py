"""A bucket of an S3-compatible store, as serving and training both reach it.

Credentials, region and endpoint come from the environment, by the names that every S3 client reads.
The client is imported only here, so that a local folder costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from errno import ENOENT
from functools import lru_cache
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from obstore.store import S3Store

SCHEME: Final = "s3://"
_CONNECT_SECONDS: Final = 5
_SECONDS: Final = 600.0
_CHUNK_BYTES: Final = 4 * 1024 * 1024
# Where a client that was given no credentials asks for those of its machine.
_MACHINE: Final = "169.254.169.254"
_NO_BUCKET: Final = "NoSuchBucket"
_URL = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^/]+)*/?")


class StoreError(OSError):
    """The store did not do what it was asked. The message is one line, without credentials."""


@dataclass(frozen=True)
class Object:
    """What a store says of an object.

    Attributes:
        key: Under the prefix of its bucket.
        size: Bytes.
        stamp: Another one for any other content (its ETag).
        changed: Seconds since the epoch.
    """

    key: str
    size: int
    stamp: str
    changed: float


class Bucket:
    """Reads and writes objects under a prefix of a bucket.

    Attributes:
        url: ``s3://bucket/prefix``.
        at: The endpoint, or ``AWS``.
        store: The client, for those who write; ``explained`` makes its errors readable.
    """

    def __init__(self, url: str, patience: float, seconds: float = _SECONDS) -> None:
        """Make a client; nothing is asked yet.

        Args:
            url: ``s3://bucket/prefix``.
            patience: For how many seconds a request that fails (503, no connection) is tried again.
            seconds: How long one request may take, its content included.

        Raises:
            ValueError: If it is no such URL.
        """
        from obstore.store import S3Store

        self.url = check_url(url)
        name, _, prefix = self.url.removeprefix(SCHEME).partition("/")
        endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
        self.at = endpoint or "AWS"
        self.store: S3Store = S3Store(
            name,
            prefix=prefix or None,
            client_options={
                "allow_http": self.at.startswith("http://"),
                "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
                "timeout": timedelta(seconds=seconds),
            },
            retry_config={"max_retries": 8, "retry_timeout": timedelta(seconds=patience)},
        )
        self._found = False

    def read(self, key: str) -> bytes:
        """The content of an object.

        Raises:
            FileNotFoundError: If there is none.
        """
        with self.explained(key):
            return bytes(self.store.get(key).bytes())

    def put(self, key: str, content: bytes | Path) -> str:
        """Write an object, which replaces one of its name as a whole; give its stamp."""
        with self.explained(key):
            return str(self.store.put(key, content)["e_tag"])

    def look(self, key: str) -> Object | None:
        """What is known of an object, or None where there is none."""
        try:
            with self.explained(key):
                meta = self.store.head(key)
        except FileNotFoundError:
            return None
        return _object(meta)

    def list(self, prefix: str) -> list[Object]:
        """Every object under a prefix, however deep, by key."""
        with self.explained(prefix):
            pages = list(self.store.list(prefix or None))
        return sorted((_object(m) for page in pages for m in page), key=lambda each: each.key)

    def download(self, wanted: Object, path: Path) -> None:
        """Write an object, as it was looked at, to a local file.

        Raises:
            FileNotFoundError: If it is gone.
            StoreError: If it has been replaced since.
        """
        with self.explained(wanted.key), path.open("wb") as file:
            found = self.store.get(wanted.key, options={"if_match": wanted.stamp})
            for chunk in found.stream(min_chunk_size=_CHUNK_BYTES):
                file.write(chunk)

    @contextmanager
    def explained(self, key: str) -> Iterator[None]:
        """Turn what the client raises into a line that says what to do.

        Raises:
            FileNotFoundError: If there is no such object; the bucket is there.
            StoreError: For everything else.
        """
        from obstore import exceptions

        where = f"{self.url}/{key}" if key else self.url
        try:
            yield
        except FileNotFoundError as error:
            if _NO_BUCKET not in str(error) and self._is_there():
                raise FileNotFoundError(ENOENT, "No such object", where) from None
            raise StoreError(f"{where}: there is no such bucket at {self.at}") from None
        except exceptions.AlreadyExistsError:
            raise
        except exceptions.PreconditionError:
            raise StoreError(f"{where}: was replaced while it was read") from None
        except exceptions.InvalidPathError:
            raise ValueError(f"{where!r} is no name that a store takes") from None
        except exceptions.BaseError as error:
            raise StoreError(f"{where}: {self._reason(error)}") from None

    def _is_there(self) -> bool:
        """Whether the bucket itself is: a store says "not found" for an object of a missing one."""
        from obstore import exceptions

        if not self._found:
            try:
                self.store.list_with_delimiter("any")
            except (FileNotFoundError, exceptions.BaseError) as error:
                # Somebody who may only read objects is not told; they are there, then.
                return _NO_BUCKET not in str(error)
            self._found = True
        return True

    def _reason(self, error: Exception) -> str:
        # Only what the store says on purpose: its answers repeat parts of the request.
        said = str(error).split("\n\nDebug source")[0]
        code, status = _first(r"<Code>([^<]*)", said), _first(r"status code: (\d+)", said)
        if code == _NO_BUCKET:
            return f"there is no such bucket at {self.at}"
        if _MACHINE in said:
            return "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        store = f"the store at {self.at}"
        if status in ("401", "403"):
            return (
                f"{store} refuses access ({code or status}): check AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY and what they may do"
            )
        if status:
            message = _first(r"<Message>([^<]*)", said)
            return f"{store} answered {status} {code or ''} {message or ''}".rstrip()
        return f"{store} cannot be reached: {_first('(?s).*: ([^:]+)$', said) or said}"


def _object(meta: object) -> Object:
    found: dict[str, object] = dict(meta)  # type: ignore[call-overload]  # a TypedDict
    return Object(
        str(found["path"]),
        int(str(found["size"])),
        str(found["e_tag"]),
        found["last_modified"].timestamp(),  # type: ignore[attr-defined]
    )


def _first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found.group(1).strip() if found else None


def check_url(url: str) -> str:
    """The URL of a place in a bucket, without a slash at its end.

    Raises:
        ValueError: If it is none.
    """
    if not _URL.fullmatch(url) or any(p in (".", "..") for p in url.split("/")):
        raise ValueError(f"{url!r} is not of the form s3://bucket/prefix")
    return url.rstrip("/")


@lru_cache(maxsize=16)
def bucket(url: str, patience: float, seconds: float = _SECONDS) -> Bucket:
    """One client for each URL of a process: it keeps its connections."""
    return Bucket(url, patience, seconds)
