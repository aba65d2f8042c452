"""Keeps workers answering: starts them, restarts one that crashed, and stops all of them.

It holds the listening socket, so that clients wait a moment instead of being turned away while a
worker starts anew. A model is native code and can take its whole process down: what was on trial in
a worker that crashed is off from then on (see `serving.roles.suspects`).
"""

import ctypes
import json
import logging
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Final

from serving.roles.suspects import Suspects
from serving.settings import WORKER, Settings
from serving.storage.bucket import StoreError

#: The status of a worker that has told why it will never start; trying again has no point.
CANNOT_START: Final = 2
_METRICS: Final = "PROMETHEUS_MULTIPROC_DIR"
_LOOK_SECONDS: Final = 0.1
# Cleaners of temporary files take what is some days old.
_TOUCH_SECONDS: Final = 3600.0
# A worker maps its metrics into memory, and crashes (SIGBUS) where there is no room for them.
_METRICS_BYTES: Final = 1 << 20
# So many crashes within so long, and whoever started the server has to know.
_CRASHES: Final = 10
_CRASH_SECONDS: Final = 60.0
# On top of what a worker itself may take to finish what it has begun.
_STOP_SECONDS: Final = 40.0

# Of Linux; Python has no name for it.
_SO_ATTACH_FILTER: Final = 26
# A program of the classic Berkeley packet filter: return 0, for "keep nothing of it".
_DROP: Final = struct.pack("HBBI", 0x06, 0, 0, 0)

log = logging.getLogger("serving")


class Supervisor:
    """The workers of one server."""

    def __init__(
        self, settings: Settings, arguments: Sequence[str], listener: socket.socket
    ) -> None:
        """Prepare, and start nothing yet.

        Args:
            settings: For the number of workers, and how long they drain.
            arguments: Of the command line, which workers read again.
            listener: A socket that listens.
        """
        self._settings = settings
        self._arguments = list(arguments)
        self._listener = listener
        self._notes = Path(tempfile.mkdtemp(prefix="serving-"))
        self._suspects = Suspects(self._notes)
        self._notes_problem: str | None = None
        self._touch_at = monotonic() + _TOUCH_SECONDS
        self._pipe = os.pipe()
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._crashes: deque[float] = deque(maxlen=_CRASHES)
        self._signals: list[int] = []

    def run(self) -> int:
        """Keep the workers answering until told to stop; return the exit status."""
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self._note_signal)
        try:
            for number in range(self._settings.workers):
                self._start(number)
            status = self._watch()
            self._stop()
            return status
        finally:
            for worker in self._workers.values():
                worker.kill()
                worker.wait()
            shutil.rmtree(self._notes, ignore_errors=True)

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    def _start(self, number: int) -> None:
        inherited = (self._listener.fileno(), self._pipe[0])
        own = {"number": number, "files": inherited, "notes": str(self._notes)}
        environment = {**os.environ, WORKER: json.dumps(own)}
        environment.pop(_METRICS, None)
        self._keep_notes()
        if self._settings.workers > 1:
            metrics = self._notes / "metrics"
            # Otherwise it counts for itself, which is better than not at all.
            with suppress(OSError):
                metrics.mkdir(exist_ok=True)
                if shutil.disk_usage(metrics).free >= _METRICS_BYTES:
                    environment[_METRICS] = str(metrics)
        self._workers[number] = subprocess.Popen(
            [sys.executable, "-m", "serving", *self._arguments],
            env=environment,
            pass_fds=inherited,
        )

    def _keep_notes(self) -> None:
        problem = None
        try:
            self._suspects.keep()
        except StoreError as error:
            problem = str(error)
            if problem != self._notes_problem:
                log.error("no notes for workers", extra={"fields": {"problem": problem}})
        self._notes_problem = problem
        if monotonic() >= self._touch_at:
            self._touch_at = monotonic() + _TOUCH_SECONDS
            self._suspects.touch()

    def _watch(self) -> int:
        while not self._signals:
            self._keep_notes()
            for number, worker in list(self._workers.items()):
                try:
                    status = worker.wait(_LOOK_SECONDS / len(self._workers))
                except subprocess.TimeoutExpired:
                    continue
                if self._signals:
                    break
                if status == CANNOT_START:
                    return status
                if not self._note_crash(number, worker.pid, status):
                    self._crashes.append(monotonic())
                if len(self._crashes) == _CRASHES and (
                    self._crashes[-1] - self._crashes[0] < _CRASH_SECONDS
                ):
                    log.error("workers keep crashing", extra={"fields": {"crashes": _CRASHES}})
                    return 1
                self._start(number)
        return 0

    def _note_crash(self, number: int, pid: int, status: int) -> list[str]:
        """Return who was turned off, for then the next crash is less likely."""
        turned_off = []
        cause = signal.Signals(-status).name if status < 0 else f"status {status}"
        fields = {"worker": number, "pid": pid, "cause": cause}
        # SIGKILL comes from outside: an operator, or a machine without memory.
        if status < 0 and status != -signal.SIGKILL:
            reason = f"a worker crashed with {cause} while it was on trial"
            turned_off = fields["turned_off"] = self._suspects.accuse(number, reason)
        with suppress(StoreError):
            self._suspects.note_ready(number, False)
        log.error("worker ended; starting it anew", extra={"fields": fields})
        if self._settings.workers > 1:
            from prometheus_client.multiprocess import mark_process_dead

            with suppress(OSError):
                mark_process_dead(pid, str(self._notes / "metrics"))  # type: ignore[no-untyped-call]
        return turned_off

    def _stop(self) -> None:
        for worker in self._workers.values():
            worker.send_signal(signal.SIGTERM)
        asked = len(self._signals)
        drained = monotonic() + self._settings.drain_seconds
        deadline = drained + _STOP_SECONDS
        while any(worker.poll() is None for worker in self._workers.values()):
            if monotonic() >= drained and self._listener.fileno() >= 0:
                # From here on only workers take clients, and they are about to stop.
                _turn_away(self._listener)
                self._listener.close()
            # Whoever asks a second time does not want to wait.
            if monotonic() > deadline or len(self._signals) > max(asked, 1):
                return
            for worker in self._workers.values():
                try:
                    worker.wait(_LOOK_SECONDS)
                except subprocess.TimeoutExpired:
                    break


def _turn_away(listener: socket.socket) -> None:
    """Let nobody connect to a socket any more, so that it can be closed once nobody waits.

    Its kernel answers for it: whoever has connected when it closes, and was not accepted yet, would
    be cut off with his request. Elsewhere than on Linux that is what happens.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(_DROP, len(_DROP))
    with suppress(OSError):  # a sandbox that knows no filters
        listener.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program))
        )
