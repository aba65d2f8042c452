"""JSON over HTTP to the serving app: no proxy of the environment stands between."""

import json
import urllib.request
from collections.abc import Mapping
from typing import Any

_OPEN = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def call(
    url: str,
    body: Mapping[str, Any] | None = None,
    *,
    timeout: float = 5.0,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """Ask for a JSON answer: a GET, or a POST where there is a body.

    Args:
        url: Of the server and the path.
        body: Sent as JSON; dates are sent as ISO 8601.
        timeout: Seconds.
        headers: Sent along, for example an API key.

    Raises:
        urllib.error.HTTPError: With the server's own words, for a status of 400 or more.
        OSError: If nothing answers in time.
    """
    request = urllib.request.Request(
        url,
        data=None if body is None else json.dumps(body, default=str).encode(),
        headers={"content-type": "application/json", **(headers or {})},
    )
    with _OPEN(request, timeout=timeout) as response:
        return json.load(response)
