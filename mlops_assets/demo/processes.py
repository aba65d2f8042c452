"""Starting the demo's servers so that they can always be stopped again.

Every server gets a session of its own and a mark in its environment, which all that it starts
inherits. What a killed demo has left behind is found by that mark; no other process carries it, so
a process number that was given to somebody else is never touched.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

MARK = "MLOPS_DEMO_OF"
# Not ``logs``: Dagster empties a folder of that name.
LOGS = "server-logs"
LOCK = ".demo.lock"
STOP_SECONDS = 15.0


class Servers:
    """The servers of one demo."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], cwd: Path
    ) -> None:
        """Start a server with its output in ``server-logs/<name>.log``."""
        log = self.log(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self.running[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**environment, MARK: str(self.folder)},
                cwd=cwd,
                start_new_session=True,  # Ctrl-C reaches the demo alone, which stops them in order
            )

    def log(self, name: str) -> Path:
        """Where a server's output goes."""
        return self.folder / LOGS / f"{name}.log"

    def ended(self) -> tuple[str, int] | None:
        """A server that has ended by itself, with its exit code."""
        for name, process in self.running.items():
            code = process.poll()
            if code is not None:
                return name, code
        return None

    def stop(self) -> None:
        """Stop every server and all that it has started."""
        stop_all(self.folder)
        for process in self.running.values():
            process.wait()
        self.running.clear()


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Hold the lock of the demo of a folder, if nobody else does.

    Yields:
        Whether it is held.
    """
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def is_at_work(folder: Path) -> bool:
    """Whether a demo of this folder is running."""
    if not (folder / LOCK).exists():
        return False
    with alone(folder) as held:
        return not held


def left_over(folder: Path) -> list[psutil.Process]:
    """The processes that demos of this folder have started and that are still there."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if (
                process.pid != os.getpid()
                and process.status() != psutil.STATUS_ZOMBIE
                and process.environ().get(MARK) == str(folder)
            ):
                found.append(process)
    return found


def stop_all(folder: Path) -> int:
    """Stop what demos of this folder have started: politely, then by force.

    Returns:
        How many processes there were.
    """
    processes = left_over(folder)
    for process in processes:
        _signal(process, signal.SIGTERM)
    psutil.wait_procs(processes, timeout=STOP_SECONDS)
    # Who did not listen, and who was started between the look and the signal.
    stubborn = left_over(folder)
    for process in stubborn:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=STOP_SECONDS)
    return len(processes)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
