"""One file behind a URL: fetched again only if the server says that it changed."""

import hashlib
import re
import tempfile
import time
from email.message import Message
from email.utils import mktime_tz, parsedate_tz
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from mlops_assets.lib.sources.inbox import Fetched, Inbox, SourceError
from mlops_assets.lib.sources.spec import HttpSource

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

# Statuses after which the same request may well be answered.
PASSING = {408, 425, 429, 500, 502, 503, 504}
LONGEST_WAIT_SECONDS = 60.0
NAME_LENGTH = 60  # characters, of up to four bytes each: file systems take 255
SUFFIX_LENGTH = 20
# For a URL that does not end in a file name.
SUFFIXES = {
    "text/csv": ".csv",
    "application/x-ndjson": ".jsonl",
    "application/jsonl": ".jsonl",
    "application/vnd.apache.parquet": ".parquet",
    "application/gzip": ".gz",
    "application/zstd": ".zst",
}


class PassingError(SourceError):
    """The server did not do its part this time; asking again may help."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


def errors() -> tuple[type[Exception], ...]:
    """What a server raises that does not do its part."""
    import httpx

    return httpx.HTTPError, httpx.InvalidURL, OSError


def fetch(source: HttpSource, inbox: Inbox) -> Fetched:
    """Land the file if it is new.

    Raises:
        SourceError: If the server refuses, gives a page of HTML, too much, nothing, or not what
            ``sha256`` says.
        Exception: One of ``errors``, if it does not answer.
    """
    from httpx import TransportError, UnsupportedProtocol
    from tenacity import Retrying, retry_if_exception, stop_after_attempt

    def may_pass(error: BaseException) -> bool:
        if isinstance(error, UnsupportedProtocol):
            return False
        return isinstance(error, PassingError | TransportError)

    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "download"
        attempts = Retrying(
            retry=retry_if_exception(may_pass),
            stop=stop_after_attempt(source.attempts),
            wait=_wait,
            reraise=True,
        )
        state = inbox.state if inbox.state.get("url") == source.url else {}
        try:
            found: dict[str, Any] | None = attempts(_download, source, inbox, state, local)
        except TransportError as error:  # says what, and not of whom
            host = urlsplit(source.url).netloc
            raise SourceError(f"{host}: {error or type(error).__name__}") from error
        if found is None:
            return Fetched(about={"status": 304, **_shown(state)})
        fetched = Fetched(
            [inbox.land(local, found["name"])], about={"status": 200, **_shown(found)}
        )
    inbox.remember(found)
    return fetched


def _wait(state: "RetryCallState") -> float:
    """As long as the server asks for, else longer from attempt to attempt."""
    from tenacity import wait_random_exponential

    error = state.outcome.exception() if state.outcome else None
    asked = error.wait if isinstance(error, PassingError) else None
    usual = wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT_SECONDS)(state)
    return usual if asked is None else min(max(asked, 0.0), LONGEST_WAIT_SECONDS)


def _shown(state: dict[str, Any]) -> dict[str, str]:
    return {name: state[name] for name in ("etag", "last_modified", "sha256") if state.get(name)}


def _download(
    source: HttpSource, inbox: Inbox, state: dict[str, Any], local: Path
) -> dict[str, Any] | None:
    """Ask once.

    Returns:
        What is to be remembered of the answer; None if nothing has changed.
    """
    import httpx

    headers = {name: inbox.secret(variable) for name, variable in source.headers_env.items()}
    origin = _origin(httpx.URL(source.url))

    def guard(request: httpx.Request) -> None:
        """Each redirect comes by here, too."""
        if origin[0] == "https" and request.url.scheme == "http":
            raise SourceError(f"it redirects from https to {request.url.host} without encryption")
        if _origin(request.url) != origin:
            for name in headers:
                request.headers.pop(name, None)

    asking = {"Accept-Encoding": "identity", **headers}
    if state.get("etag"):
        asking["If-None-Match"] = state["etag"]
    if state.get("last_modified"):
        asking["If-Modified-Since"] = state["last_modified"]
    deadline = time.monotonic() + source.most_seconds
    with (
        httpx.Client(
            timeout=source.timeout_seconds,
            follow_redirects=True,
            event_hooks={"request": [guard]},
        ) as client,
        client.stream("GET", source.url, headers=asking) as response,
    ):
        if response.status_code == httpx.codes.NOT_MODIFIED:
            return None
        _refuse(source, response)
        digest, size = hashlib.sha256(), 0
        with local.open("wb") as file:
            for chunk in response.iter_bytes():
                if size == 0:
                    _refuse_html(response, chunk)
                size += len(chunk)
                if size > source.max_bytes:
                    raise SourceError(f"it is larger than max_bytes, {source.max_bytes}")
                if time.monotonic() > deadline:
                    raise SourceError(f"it took longer than most_seconds, {source.most_seconds}")
                digest.update(chunk)
                file.write(chunk)
        if size == 0:
            raise SourceError("the server gives an empty file")
        if source.sha256 not in (None, digest.hexdigest()):
            raise SourceError(f"its digest is {digest.hexdigest()}, sha256 says {source.sha256}")
        return {
            "url": source.url,
            "name": file_name(source, response),
            "etag": response.headers.get("ETag"),
            "last_modified": response.headers.get("Last-Modified"),
            "sha256": digest.hexdigest(),
        }


def _origin(url: "httpx.URL") -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _refuse(source: HttpSource, response: "httpx.Response") -> None:
    """Raise if an answer is not the file."""
    status, size = response.status_code, response.headers.get("Content-Length", "")
    if status in PASSING:
        after = _seconds(response.headers.get("Retry-After"))
        raise PassingError(f"{response.url.host} answers {status} {response.reason_phrase}", after)
    if status != 200:
        hint = f"; look at {', '.join(source.variables)}" if status in (401, 403) else ""
        said = f"{response.url.host} answers {status} {response.reason_phrase}"
        raise SourceError(said + (hint if source.variables else ""))
    if size.isdigit() and int(size) > source.max_bytes:
        raise SourceError(f"it has {size} bytes, max_bytes is {source.max_bytes}")


def _refuse_html(response: "httpx.Response", start: bytes) -> None:
    """Raise if an answer is a page: a login, an error, a consent."""
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:20].lower()
    declared = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    page = declared in ("text/html", "application/xhtml+xml") and text.startswith(b"<")
    if page or text.startswith((b"<!doctype html", b"<html")):
        raise SourceError(f"{response.url.host} gives a page of HTML in place of data")


def _seconds(retry_after: str | None) -> float | None:
    """What ``Retry-After`` asks for: seconds, or a date."""
    if retry_after is None:
        return None
    if retry_after.strip().isdigit():
        return float(retry_after)
    date = parsedate_tz(retry_after)
    return None if date is None else mktime_tz(date) - time.time()


def file_name(source: HttpSource, response: "httpx.Response") -> str:
    """The name that a file lands under: the server's, the URL's, or the source's.

    It names no folder, is not hidden, and is short enough for every file system.
    """
    header = Message()
    header["Content-Disposition"] = response.headers.get("Content-Disposition", "")
    asked, path = header.get_filename(""), unquote(urlsplit(source.url).path)
    for text in (asked, path):
        name = re.sub(r"[\x00-\x1f\x7f]", "", re.split(r"[/\\]", text)[-1]).strip(". ")
        if name:
            break
    else:
        name = source.name
    stem, dot, suffix = name.rpartition(".")
    if not dot:
        declared = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return name[:NAME_LENGTH] + SUFFIXES.get(declared, "")
    return f"{stem[: NAME_LENGTH - SUFFIX_LENGTH]}.{suffix[:SUFFIX_LENGTH]}"
