"""The command: `python -m serving`. Says in one line why it cannot start, when it cannot."""

import contextlib
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence

import uvicorn
from prometheus_client import disable_created_metrics

from serving.access.protocol import guarded
from serving.access.tls import uvicorn_options
from serving.app import create_app
from serving.logs import configure
from serving.settings import Settings, SettingsError, load_settings
from serving.tracing import TracingError

# Requests in flight may finish within this time; then the process goes.
_DRAIN_SECONDS = 30
_BACKLOG = 2048

log = logging.getLogger("serving")


def main(arguments: Sequence[str]) -> int:
    """Run the server until it is told to stop; return the exit status."""
    try:
        settings = load_settings(arguments, os.environ)
        app = create_app(settings)
    except (SettingsError, TracingError) as error:
        print(f"serving: {error}", file=sys.stderr)
        return 2
    try:
        listener = _listen(settings)
    except OSError as error:
        print(f"serving: {_explain(error, settings)}", file=sys.stderr)
        return 1
    configure(settings.log_level)
    # uvicorn ends by raising the signal it was stopped with once more; draining is success.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # Every counter's time of creation as a series of its own would double the output.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    port = listener.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    follows = f"{settings.storage_root}/{settings.desired_state}"
    scheme = "https" if settings.tls_certificate else "http"
    log.info(
        "listening",
        extra={"fields": {"url": f"{scheme}://{host}:{port}/docs", "follows": follows}},
    )
    tls = uvicorn_options(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=guarded(settings.body_seconds),
            log_config=None,
            access_log=False,
            ws="none",
            lifespan="on",
            backlog=_BACKLOG,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
            server_header=False,
            **tls,
        )
    )
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    return 0 if server.started else 1


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    # A port that a stopped server left in TIME_WAIT is free; one that is listened on is not.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        # At once: two servers that start together could both bind, but not both listen.
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _explain(error: OSError, settings: Settings) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {settings.port} on {settings.host} is in use: "
            "choose another with --port or SERVING_PORT (0 lets the system choose)"
        )
    return f"cannot listen on {settings.host} port {settings.port}: {error.strerror or error}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
