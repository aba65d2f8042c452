"""The command: `python -m serving`. Says in one line why it cannot start, when it cannot."""

import errno
import json
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from serving.logs import configure
from serving.settings import WORKER, Settings, SettingsError, load_settings, unknown_variables
from serving.storage.origin import open_cache
from serving.supervisor import Supervisor

_BACKLOG = 2048

log = logging.getLogger("serving")


def main(arguments: Sequence[str]) -> int:
    """Run the server until it is told to stop; return the exit status."""
    try:
        settings = load_settings(arguments, os.environ)
        open_cache(settings)
    except SettingsError as error:
        print(f"serving: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"serving: no cache: {error}: choose another folder with --cache", file=sys.stderr)
        return 2
    if (own := os.environ.get(WORKER)) is not None:
        # Imported here: a supervisor answers nobody, and stays small.
        from serving.worker import work

        mine = json.loads(own)
        settings = settings.model_copy(update={"worker": mine["number"]})
        listening, parent = mine["files"]
        status = work(settings, listening, parent, mine["notes"])
        # Everything is answered and written. Taking native libraries apart while their threads
        # still wait would print what is no log line, and may crash.
        logging.shutdown()
        os._exit(status)
    configure(settings.log_level)
    if (problem := _spool_problem(settings)) and settings.is_production:
        print(f"serving: {problem}", file=sys.stderr)
        return 2
    try:
        listener = _listen(settings)
    except OSError as error:
        print(f"serving: {_explain(error, settings)}", file=sys.stderr)
        return 1
    for unknown in unknown_variables(os.environ):
        log.warning(unknown)
    if problem:
        log.warning("predictions are not logged", extra={"fields": {"problem": problem}})
    port = listener.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    scheme = "https" if settings.tls_certificate else "http"
    follows = [settings.origin(name) for name in settings.use_cases]
    log.info(
        "listening",
        extra={"fields": {"url": f"{scheme}://{host}:{port}/docs", "follows": follows}},
    )
    with listener:
        return Supervisor(settings, arguments, listener).run()


def _spool_problem(settings: Settings) -> str | None:
    """Why nothing could be logged, or None. A full disk is no reason: the log waits for room."""
    folder = Path(settings.log_spool)
    try:
        if settings.prediction_log:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError as error:
        if error.errno != errno.ENOSPC:
            reason = f"{folder}: {error.strerror}"
            return f"no spool for the prediction log: {reason}: choose another with --log-spool"
    return None


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
