"""One worker: a process that answers. Started by the supervisor, never by hand."""

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Final

import uvicorn
from prometheus_client import disable_created_metrics

from serving.access.protocol import guarded
from serving.access.tls import uvicorn_options
from serving.app import App
from serving.logs import configure
from serving.settings import Settings
from serving.supervisor import CANNOT_START
from serving.tracing import TracingError

# Requests in flight may finish within this time; then the process goes.
_FINISH_SECONDS: Final = 30
# Within which connections that are waiting are taken, and the requests of those are there.
_LAST_SECONDS: Final = 0.2
BACKLOG: Final = 2048


class _Server(uvicorn.Server):
    """Sends clients away for some seconds before it stops taking them."""

    def __init__(self, config: uvicorn.Config, app: App, drain_seconds: float) -> None:
        super().__init__(config)
        self._app = app
        self._drain_seconds = drain_seconds
        self._stop_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._stop_at is None:
            self._app.drain()
            self._stop_at = monotonic() + self._drain_seconds

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Nobody connects any more (see the supervisor), but who has connected is still accepted.
        await asyncio.sleep(_LAST_SECONDS)
        # Who was accepted a moment ago has not been read yet, and uvicorn would close that
        # connection without an answer.
        for server in self.servers:
            server.close()
        for each in sockets or []:
            each.close()
        await asyncio.sleep(_LAST_SECONDS)
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        if self._stop_at is not None and monotonic() >= self._stop_at:
            self.should_exit = True
        return await super().on_tick(counter)


def work(settings: Settings, listener: int, parent: int, notes: str) -> int:
    """Answer until told to stop; return the exit status.

    Args:
        settings: What to serve.
        listener: The file descriptor of the socket that listens.
        parent: The reading end of a pipe whose other end closes when the supervisor is gone.
        notes: The folder that is shared with the supervisor.
    """
    configure(settings.log_level)
    # A terminal's Ctrl-C reaches every process; the supervisor passes it on in its own time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_outlive_nobody, args=(parent,), daemon=True).start()
    # Every counter's time of creation as a series of its own would double the output.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        app = App(settings, Path(notes))
    except TracingError as error:
        print(f"serving: {error}", file=sys.stderr)
        return CANNOT_START
    config = uvicorn.Config(
        app,
        http=guarded(settings.body_seconds),
        log_config=None,
        access_log=False,
        ws="none",
        lifespan="on",
        backlog=BACKLOG,
        timeout_graceful_shutdown=_FINISH_SECONDS,
        server_header=False,
        **uvicorn_options(settings.tls_certificate, settings.tls_key, settings.tls_client_ca),
    )
    server = _Server(config, app, settings.drain_seconds)
    # A full collection looks at all that was imported, and takes 50 ms: what is here by now stays.
    gc.collect()
    gc.freeze()
    server.run(sockets=[socket.socket(fileno=listener)])
    return 0 if server.started else 1


def _outlive_nobody(parent: int) -> None:
    os.read(parent, 1)
    os.kill(os.getpid(), signal.SIGTERM)
