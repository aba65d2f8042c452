"""Where alerts go: addresses of Apprise, from the environment or a mounted file.

An address holds secrets. None leaves this module: a channel is named by its place in the list and
its scheme, what Apprise and its libraries log while they send is dropped, and of an answer only the
status is kept.
"""

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

from mlops_assets.alerting.alert import LEVELS, Level

VARIABLE = "MLOPS_ALERT_URLS"
FILE_VARIABLE = "MLOPS_ALERT_URLS_FILE"
# For one message on one channel, whatever stands at the other end.
SECONDS = 5.0
_CHATTY = ("apprise", "urllib3.connection", "urllib3.connectionpool", "urllib3.util.retry")


class ChannelError(ValueError):
    """An address cannot be used; the message names its place, and nothing of it."""


@dataclass(frozen=True)
class Channel:
    """One address.

    Attributes:
        name: Its place in the list and its scheme, for example ``2-slack``.
        least: The least level that it takes.
        url: The address, a secret.
    """

    name: str
    least: Level
    url: str = field(repr=False)

    def send(
        self, title: str, body: str, level: Level, over: bool, seconds: float = SECONDS
    ) -> str:
        """Send a message, and wait no longer than so many seconds.

        Returns:
            Why it was not taken; nothing if it was. One that was late may have been taken as well.
        """
        with _discreet():
            import apprise

            kinds = {
                "info": apprise.NotifyType.INFO,
                "warning": apprise.NotifyType.WARNING,
                "critical": apprise.NotifyType.FAILURE,
            }
            server = cast(Any, apprise.Apprise.instantiate(self.url))
        if server is None:
            return "Apprise does not understand the address"
        server.socket_connect_timeout = server.socket_read_timeout = seconds
        server.notify_format = apprise.NotifyFormat.TEXT
        kind = apprise.NotifyType.SUCCESS if over else kinds[level]
        sending = _Sending(partial(server.notify, body=body, title=title, notify_type=kind))
        sending.start()
        sending.join(seconds)
        return f"no answer within {seconds:g} s" if sending.is_alive() else sending.why


class _Sending(threading.Thread):
    """A message on its way. A daemon: what hangs holds up neither a tick nor the end of a process.

    Attributes:
        why: Why it was not taken, once it has ended; nothing if it was.
    """

    def __init__(self, notify: Callable[[], bool]) -> None:
        super().__init__(daemon=True)
        self.why = ""
        self._notify = notify

    def run(self) -> None:
        with _discreet() as statuses:
            try:
                taken = self._notify()
            except Exception as error:  # its text may quote the address
                self.why = type(error).__name__
                return
        if not taken:
            self.why = f"answered {statuses[-1]}" if statuses else "not taken, or not reached"


class _Discretion(logging.Filter):
    """Drops what a thread logs while it is discreet, but for the status of an answer."""

    def filter(self, record: logging.LogRecord) -> bool:
        statuses = getattr(_here, "statuses", None)
        if statuses is None:
            return True
        statuses += re.findall(r"\berror=(\d{3})\b", record.getMessage())
        return False


_here = threading.local()
_discretion = _Discretion()


@contextmanager
def _discreet() -> Iterator[list[str]]:
    """Let this thread log nothing of Apprise and its libraries; gives the statuses that it says."""
    for name in _CHATTY:
        logging.getLogger(name).addFilter(_discretion)
    _here.statuses = []
    try:
        yield _here.statuses
    finally:
        _here.statuses = None


def channels() -> tuple[list[Channel], list[str]]:
    """The channels of this deployment, read anew: a mounted file may have changed.

    Returns:
        Those that are understood, and what is wrong with the others: a typo in one address keeps
        nobody else from being told.
    """
    entries, problems = os.environ.get(VARIABLE, "").split(), []
    if file := os.environ.get(FILE_VARIABLE):
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            said = getattr(error, "strerror", None) or "it is no text"
            text = ""
            problems.append(f"{FILE_VARIABLE}={file}: {said}")
        lines = (line.strip() for line in text.splitlines())
        entries += [line for line in lines if line and not line.startswith("#")]
    found = []
    for number, entry in enumerate(entries, start=1):
        try:
            found.append(_channel(number, entry))
        except ChannelError as error:
            problems.append(str(error))
    return found, problems


def _channel(number: int, entry: str) -> Channel:
    named, separator, rest = entry.partition("=")
    found = [level for level in LEVELS if separator and level == named]
    least, url = (found[0], rest) if found else (LEVELS[0], entry)
    scheme = re.match(r"([a-z][a-z0-9]*)://\S+$", url, re.IGNORECASE)
    if scheme is None:
        raise ChannelError(
            f"address {number} of {VARIABLE} and {FILE_VARIABLE} is none: write "
            f"scheme://... or level=scheme://... with a level of {', '.join(LEVELS)}"
        )
    return Channel(f"{number}-{scheme[1].lower()}", least, url)
