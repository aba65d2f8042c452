"""Compares what is wrong with what was told, and tells the difference.

Nothing here stops anything. A channel that hangs or refuses costs its own seconds, rests, and is
asked again later and less often; what waits for it is in the book.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from mlops_assets.alerting.alert import LEVELS, Alert, Seen, at_least
from mlops_assets.alerting.book import Book, Entry, Resting, Told, seconds_since
from mlops_assets.alerting.channels import SECONDS, Channel

# What is over may come back at once: so long nobody is told that it is over.
QUIET_SECONDS = 300.0
# An alert that nothing looks at any more is forgotten.
FORGOTTEN_SECONDS = 7 * 86400.0
# A channel rests after a failure, each time twice as long, up to a limit.
REST_SECONDS, LONGEST_REST_SECONDS = 30.0, 900.0
# Tries of one message on one channel; then one in each time after which it is told again.
TRIES = 8
# Messages of one look on one channel. Where there would be more, one message tells many.
MOST, MOST_IN_ONE = 10, 100


@dataclass
class Settled:
    """What came of comparing.

    Attributes:
        opened: The alerts that are new.
        sent: Messages that were taken.
        problems: What could not be sent, and why, without any secret.
    """

    opened: list[Alert] = field(default_factory=list)
    sent: int = 0
    problems: list[str] = field(default_factory=list)


class Alerting:
    """Tells what is wrong with one use case, once.

    Attributes:
        book: What was told.
        channels: Whom to tell.
        repeat: What is still wrong after so long is told again.
        quiet: Seconds that something is over before that is told.
        seconds: For one message.
    """

    def __init__(
        self,
        book: Book,
        channels: Sequence[Channel],
        repeat: timedelta,
        *,
        quiet: float = QUIET_SECONDS,
        seconds: float = SECONDS,
    ) -> None:
        self.book = book
        self.channels = channels
        self.repeat = repeat.total_seconds()
        self.quiet = quiet
        self.seconds = seconds

    def settle(self, seen: Seen, now: datetime) -> Settled:
        """Open what is new, close what is over, and tell both.

        Args:
            seen: What is wrong now.
            now: With a time zone.
        """
        settled = Settled()
        self._note(seen, now, settled)
        for channel in self.channels:
            self._tell(channel, now, settled)
        self._close(now)
        return settled

    def _note(self, seen: Seen, now: datetime, settled: Settled) -> None:
        """Bring the book up to what was seen."""
        stamp, entries = now.isoformat(), self.book.entries
        present = {alert.key: alert for alert in seen.alerts}
        changed = False
        for key, alert in present.items():
            entry = entries.get(key)
            if entry is not None and entry.over is None and entry.alert == alert:
                continue
            changed = True
            if entry is None or any(told.over for told in entry.told.values()):
                entries[key] = Entry(alert, stamp, stamp)
                settled.opened.append(alert)
            else:
                entry.alert, entry.changed, entry.over = alert, stamp, None
        for key in [key for key in entries if key not in present]:
            entry = entries[key]
            if entry.over is None and seen.covers(key):
                entry.over, changed = stamp, True
            elif entry.over is None and seconds_since(entry.changed, now) > FORGOTTEN_SECONDS:
                del entries[key]
                changed = True
        if changed:
            self.book.write()

    def _tell(self, channel: Channel, now: datetime, settled: Settled) -> None:
        """Send what a channel is to be told, until it does not take a message."""
        due = [entry for entry in self.book.entries.values() if self._is_due(entry, channel, now)]
        rest = self.book.resting.get(channel.name)
        if not due or (rest is not None and seconds_since(rest.until, now) < 0):
            return
        # One message that is never taken must not keep the others back.
        due.sort(key=lambda e: (e.told.get(channel.name, Told()).tries, _rank(e), e.since))
        alone = due if len(due) <= MOST else [e for e in due if _rank(e) == 0][:MOST]
        for entry in alone:
            if not self._send(channel, [entry], now, settled):
                return
        together = [entry for entry in due if entry not in alone][:MOST_IN_ONE]
        if together:
            self._send(channel, together, now, settled)

    def _is_due(self, entry: Entry, channel: Channel, now: datetime) -> bool:
        """Whether a channel is to be told something of an alert now."""
        alert, told = entry.alert, entry.told.get(channel.name, Told())
        if told.tries >= TRIES and seconds_since(told.last_try, now) < self.repeat:
            return False
        if entry.over is not None:
            if alert.once or not _was_told(told):
                return False
            return seconds_since(entry.over, now) >= self.quiet
        if not at_least(alert.level, channel.least):
            return False
        if told.level is None or not at_least(told.level, alert.level):
            return True
        again = not alert.once and alert.level != "info"
        return again and seconds_since(told.at, now) >= self.repeat

    def _send(
        self, channel: Channel, entries: list[Entry], now: datetime, settled: Settled
    ) -> bool:
        """Send one message about some alerts, and keep before and after that it was sent."""
        stamp, first = now.isoformat(), entries[0]
        for entry in entries:
            told = entry.told.setdefault(channel.name, Told())
            told.tries, told.last_try = told.tries + 1, stamp
        self.book.write()
        over = all(entry.over is not None for entry in entries)
        if len(entries) == 1:
            title, body = first.alert.title, first.alert.body(first.since, first.over)
        else:
            title = f"{self.book.use_case}: {len(entries)} alerts at once"
            states = ["resolved" if entry.over else entry.alert.level for entry in entries]
            lines = [f"{s}: {e.alert.title}" for s, e in zip(states, entries, strict=True)]
            body = "\n".join([*lines, "What to do: `mlops alerts` says more of each."])
        gravest = max((entry.alert.level for entry in entries), key=LEVELS.index)
        why = channel.send(title, body, gravest, over, self.seconds)
        if why:
            before = self.book.resting.get(channel.name)
            failures = 1 + (before.failures if before else 0)
            seconds = min(REST_SECONDS * 2 ** min(failures - 1, 10), LONGEST_REST_SECONDS)
            until = now + timedelta(seconds=seconds)
            self.book.resting[channel.name] = Resting(failures, until.isoformat(), why)
            settled.problems.append(
                f"channel {channel.name}: {why} ({failures} in a row); it is asked again in "
                f"{seconds:g} s"
            )
        else:
            settled.sent += 1
            self.book.resting.pop(channel.name, None)
            for entry in entries:
                told = Told(entry.alert.level, stamp, entry.over is not None)
                entry.told[channel.name] = told
        self.book.write()
        return not why

    def _close(self, now: datetime) -> None:
        """Forget what is over, and was said to be wherever it was told."""
        names = {channel.name for channel in self.channels}
        gone = []
        for key, entry in self.book.entries.items():
            waiting = [
                told
                for name, told in entry.told.items()
                if name in names and _was_told(told) and told.tries < TRIES
            ]
            if entry.over is None or (waiting and not entry.alert.once):
                continue
            if entry.alert.once or seconds_since(entry.over, now) >= self.quiet:
                gone.append(key)
        for key in gone:
            del self.book.entries[key]
        if gone:
            self.book.write()


def _was_told(told: Told) -> bool:
    """Whether a channel waits to hear that it is over: nobody waits for the end of information."""
    return told.level not in (None, "info") and not told.over


def _rank(entry: Entry) -> int:
    """0 for the gravest."""
    return len(LEVELS) - 1 - LEVELS.index(entry.alert.level)
