"""The container's own health check: `python -m serving.alive` ends with 0 if the server answers.

It reads the same variables as the server, and nothing else: it runs every few seconds, and loading
the settings would cost more than the question.
"""

import os
import socket
import ssl
import sys
import urllib.request
from collections.abc import Mapping

_SECONDS = 4.0
_WILDCARDS = {"", "0.0.0.0", "::"}


def main(environ: Mapping[str, str]) -> int:
    """Ask the server of this machine whether it is alive.

    Returns:
        0 if it is, 1 if not (the reason is on standard error).
    """
    host = environ.get("SERVING_HOST", "")
    host = "127.0.0.1" if host in _WILDCARDS else host
    port = environ.get("SERVING_PORT") or "8000"
    try:
        _ask(host, port, environ)
    except OSError as error:
        print(f"serving: {host} port {port} does not answer: {error}", file=sys.stderr)
        return 1
    return 0


def _ask(host: str, port: str, environ: Mapping[str, str]) -> None:
    # It asks itself, under an address that no certificate need name; and past every proxy.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if environ.get("SERVING_TLS_CLIENT_CA"):
        # Only clients with a certificate get further than this; a server that hangs gets nowhere.
        with socket.create_connection((host, int(port)), _SECONDS) as plain:
            context.wrap_socket(plain).close()
        return
    handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)]
    scheme = "https" if environ.get("SERVING_TLS_CERTIFICATE") else "http"
    named = f"[{host}]" if ":" in host else host
    url = f"{scheme}://{named}:{port}/health/live"
    urllib.request.build_opener(*handlers).open(url, timeout=_SECONDS).close()


if __name__ == "__main__":
    sys.exit(main(os.environ))
