"""JSON over HTTP to the serving app: no proxy of the environment stands between.

Where the app asks for an API key, this side's is in `MLOPS_SERVING_API_KEY`.
"""

import json
import os
import ssl
import urllib.request
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

API_KEY_VARIABLE = "MLOPS_SERVING_API_KEY"


@cache
def _opener(ca: Path | None) -> Callable[..., Any]:
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if ca is not None:
        context = ssl.create_default_context(cafile=ca)
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers).open


def call(
    url: str,
    body: Mapping[str, Any] | None = None,
    *,
    timeout: float = 5.0,
    headers: Mapping[str, str] | None = None,
    ca: Path | None = None,
) -> Any:
    """Ask for a JSON answer: a GET, or a POST where there is a body.

    Args:
        url: Of the server and the path.
        body: Sent as JSON; dates are sent as ISO 8601.
        timeout: Seconds.
        headers: Sent along; they go before those of the environment.
        ca: A file of certificates to trust in place of the system's.

    Raises:
        urllib.error.HTTPError: With the server's own words, for a status of 400 or more.
        OSError: If nothing answers in time.
    """
    return json.loads(content(url, body, timeout=timeout, headers=headers, ca=ca))


def content(
    url: str,
    body: Mapping[str, Any] | None = None,
    *,
    timeout: float = 5.0,
    headers: Mapping[str, str] | None = None,
    ca: Path | None = None,
) -> bytes:
    """Ask for an answer of any kind; see ``call``."""
    sent = {"content-type": "application/json"}
    if key := os.environ.get(API_KEY_VARIABLE):
        sent["x-api-key"] = key
    sent.update(headers or {})
    request = urllib.request.Request(
        url,
        data=None if body is None else json.dumps(body, default=str).encode(),
        headers=sent,
    )
    with _opener(ca)(request, timeout=timeout) as response:
        read: bytes = response.read()
    return read
