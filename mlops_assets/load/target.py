"""Where requests go, and their bytes: made once, so that sending one is a single write."""

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Target:
    """One endpoint.

    Attributes:
        host: Its name or address.
        port: Its port.
        tls: How its certificate is checked; None for plain HTTP.
        requests: The bytes of each request.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None
    requests: tuple[bytes, ...]

    @classmethod
    def of(
        cls,
        url: str,
        path: str,
        headers: Mapping[str, str],
        bodies: Sequence[bytes],
        ca: Path | None = None,
    ) -> "Target":
        """Make the requests.

        Args:
            url: Of the server, as `http://host:port`; a path in it comes before `path`.
            path: Of the endpoint.
            headers: Sent with every request.
            bodies: JSON texts.
            ca: A file of certificates to trust in place of the system's.

        Raises:
            ValueError: The URL is not one of a server, or a header holds a line break.
            OSError: The file of certificates cannot be read.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError(f"{url!r} is not the URL of a server, such as http://127.0.0.1:8000")
        lines = {
            "host": parts.netloc.rpartition("@")[2],
            "content-type": "application/json",
            **{name.lower(): value for name, value in headers.items()},
        }
        for name, value in lines.items():
            if not (name + value).isprintable():
                raise ValueError(f"header {name!r}: the value cannot be sent")
        head = f"POST {parts.path.rstrip('/')}{path} HTTP/1.1\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return cls(
            parts.hostname,
            parts.port or _PORTS[parts.scheme],
            ssl.create_default_context(cafile=ca) if parts.scheme == "https" else None,
            tuple(
                f"{head}content-length: {len(body)}\r\n\r\n".encode("latin-1") + body
                for body in bodies
            ),
        )
