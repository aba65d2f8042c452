"""Files of a folder or of a bucket: each new or changed one lands under its own name.

What was seen of a file last time (its ETag, or size and time) only saves reading it again; whether
it is new is decided by its content when it lands.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

from mlops_assets.lib.records.batches import SETTLE_SECONDS
from mlops_assets.lib.sources.inbox import Fetched, Inbox, Landed, SourceError
from mlops_assets.lib.sources.spec import FilesSource

BUCKET = "s3://"
PATTERN = "*?["
# What a writer leaves beside its data: `_SUCCESS`, `.crc`.
NO_DATA = (".", "_")


def errors() -> tuple[type[Exception], ...]:
    """What a folder or a store raises that does not do its part."""
    from botocore.exceptions import BotoCoreError, ClientError

    return OSError, BotoCoreError, ClientError


def fetch(source: FilesSource, inbox: Inbox) -> Fetched:
    """Land every new or changed file.

    A file that is refused is a problem and does not stop the others; a store that does not answer
    stops the fetch, and the next one goes on from there.

    Raises:
        SourceError: If the place is not there or lets nobody in.
        Exception: One of ``errors``, if it does not answer.
    """
    from botocore.exceptions import NoCredentialsError

    fetched = Fetched()
    system = _system(source, inbox)
    seen = dict(inbox.state.get("seen", {}))
    try:
        listed = _listed(source.url, system)
        for path, info in listed.items():
            if seen.get(path) == _mark(info):
                continue
            try:
                fetched.landed.append(_land(source, system, path, info, inbox))
            except (SourceError, FileNotFoundError, PermissionError) as error:
                fetched.problems.append(f"{path}: {error}")
            else:
                seen[path] = _mark(info)
        seen = {path: mark for path, mark in seen.items() if path in listed}
    except FileNotFoundError as error:
        raise SourceError(f"{source.url} is not there: {error}") from error
    except (PermissionError, NoCredentialsError) as error:
        used = source.variables or ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
        hint = f"; look at {', '.join(used)}" if source.url.startswith(BUCKET) else ""
        raise SourceError(f"{source.url} lets nobody in: {error}{hint}") from error
    finally:
        inbox.remember({"seen": seen})
    fetched.about = {"files": len(listed), "read": len(fetched.landed)}
    return fetched


def _system(source: FilesSource, inbox: Inbox) -> Any:
    """The file system of fsspec that the files lie on."""
    if not source.url.startswith(BUCKET):
        from fsspec.implementations.local import LocalFileSystem

        return LocalFileSystem(skip_instance_cache=True)
    from s3fs import S3FileSystem

    def value(variable: str | None) -> str | None:
        return inbox.secret(variable) if variable else None

    return S3FileSystem(
        endpoint_url=value(source.endpoint_env),
        key=value(source.key_env),
        secret=value(source.secret_env),
        config_kwargs={
            # Waits longer from attempt to attempt, at most 20 s.
            "retries": {"mode": "standard", "total_max_attempts": source.attempts},
            "connect_timeout": source.timeout_seconds,
            "read_timeout": source.timeout_seconds,
        },
        use_listings_cache=False,
        skip_instance_cache=True,
    )


def _listed(url: str, system: Any) -> dict[str, dict[str, Any]]:
    """What fsspec knows of each file with data, by path, sorted."""
    place = url if url.startswith(BUCKET) else str(Path(url).expanduser())
    if any(sign in place for sign in PATTERN):
        found = system.glob(place, detail=True)
        # A folder that is not there looks like one without files, for ever.
        if not found and not url.startswith(BUCKET):
            fixed = place[: min(place.find(sign) for sign in PATTERN if sign in place)]
            system.info(fixed.rpartition("/")[0] or ".")
    else:
        found = system.find(place, detail=True) or {place: system.info(place)}
    return {
        path: info
        for path, info in sorted(found.items())
        if info["type"] == "file" and not path.rsplit("/", 1)[-1].startswith(NO_DATA)
    }


def _mark(info: dict[str, Any]) -> str:
    """What changes with a file."""
    return f"{info['size']} {info.get('ETag') or info['mtime']}"


def _land(
    source: FilesSource, system: Any, path: str, info: dict[str, Any], inbox: Inbox
) -> Landed:
    """Hand one file over.

    Raises:
        SourceError: If it is too large, or changes while it is read.
    """
    name = path.rsplit("/", 1)[-1]
    if info["size"] > source.max_bytes:
        raise SourceError(f"{info['size']} bytes are above max_bytes, {source.max_bytes}")
    if not source.url.startswith(BUCKET):
        if time.time() - info["mtime"] < SETTLE_SECONDS:
            raise SourceError("it may still be written; the next fetch takes it")
        return inbox.land(Path(path), name)
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "object"
        system.get_file(path, str(local), max_concurrency=1)  # one stream needs little memory
        if local.stat().st_size != info["size"] or _mark(system.info(path)) != _mark(info):
            raise SourceError("it changed while it was read; the next fetch takes it")
        return inbox.land(local, name)
