"""What is told, to whom and how often: once, whatever is killed, refused or flaps."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlops_assets.alerting import book
from mlops_assets.alerting.alert import Alert, Seen
from mlops_assets.alerting.alerting import MOST, QUIET_SECONDS, TRIES, Alerting, Settled
from mlops_assets.alerting.channels import Channel
from mlops_assets.cli import main
from mlops_assets.lib.storage.root import Storage
from tests.alerting.receivers import Webhook, webhook

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LOW = Alert("heart", "performance/measured", "warning", "accuracy is low", "It is 0.7.", "Look.")
NEWS = replace(LOW, key="decision/1", level="info", title="version 1 serves", once=True)
LOOKED = frozenset({"performance/", "decision/"})


class People:
    """Two channels, a clock and a book on a folder."""

    def __init__(self, folder: Path, *channels: Channel) -> None:
        self.store = Storage(folder)
        self.channels = channels
        self.now = NOW
        self.seconds = 5.0

    def look(self, *alerts: Alert, after: float = 30) -> Settled:
        self.now += timedelta(seconds=after)
        noted = book.read(self.store, "heart")
        alerting = Alerting(noted, self.channels, timedelta(hours=24), seconds=self.seconds)
        return alerting.settle(Seen(alerts, LOOKED), self.now)

    def open(self) -> list[str]:
        return list(book.read(self.store, "heart").entries)


@pytest.fixture
def other() -> Iterator[Webhook]:
    with webhook() as made:
        yield made


@pytest.fixture
def people(tmp_path: Path, hook: Webhook, other: Webhook) -> People:
    first = Channel("1-json", "info", hook.url())
    return People(tmp_path, first, Channel("2-json", "critical", other.url()))


def test_an_alert_is_told_once_and_when_it_is_over(people: People, hook: Webhook) -> None:
    for _ in range(3):
        people.look(LOW)
    assert hook.titles == ["warning: accuracy is low"]
    assert (
        "WARNING, since 2026-03-01T00:00:30Z\nIt is 0.7.\nWhat to do: Look."
        in (hook.taken[0]["message"])
    )
    # It comes back at once: nobody was told that it was over, nor is told again.
    people.look()
    people.look(LOW)
    people.look(replace(LOW, what="It is 0.71."))
    assert len(hook.taken) == 1
    people.look()
    people.look(after=QUIET_SECONDS)
    assert hook.titles[1:] == ["success: accuracy is low"]
    assert "RESOLVED" in hook.taken[1]["message"]
    assert people.open() == []
    people.look(LOW)
    assert len(hook.taken) == 3


def test_a_worse_level_is_told_at_once_and_the_rest_after_a_day(
    people: People, hook: Webhook, other: Webhook
) -> None:
    people.look(LOW)
    worse = replace(LOW, level="critical")
    people.look(worse)
    people.look(LOW)
    people.look(worse)
    assert hook.titles == ["warning: accuracy is low", "failure: accuracy is low"]
    assert other.titles == ["failure: accuracy is low"]
    people.look(worse, after=24 * 3600)
    assert (len(hook.taken), len(other.taken)) == (3, 2)


def test_news_are_told_once_and_never_over(people: People, hook: Webhook) -> None:
    people.look(NEWS)
    people.look(NEWS, after=23 * 3600)
    people.look()
    people.look(after=3600)
    assert hook.titles == ["info: version 1 serves"]
    assert people.open() == []


def test_a_channel_that_refuses_rests_and_holds_up_nobody(
    people: People, hook: Webhook, other: Webhook
) -> None:
    hook.status = 500
    worst = replace(LOW, level="critical")
    settled = people.look(worst)
    said = "channel 1-json: answered 500 (1 in a row); it is asked again in 30 s"
    assert settled.problems == [said]
    assert len(other.taken) == 1
    assert people.look(worst, after=10).problems == []
    assert "in 60 s" in people.look(worst, after=30).problems[0]
    hook.status = 200
    assert people.look(worst, after=10).sent == 0
    assert people.look(worst, after=60).sent == 1
    assert people.look(worst).sent == 0
    assert (len(hook.taken), len(other.taken)) == (3, 1)


def test_one_that_never_takes_it_is_asked_so_often_and_then_daily(
    people: People, hook: Webhook
) -> None:
    hook.status, people.seconds = None, 0.1
    for _ in range(TRIES + 3):
        people.look(LOW, after=3600)
    hook.released.set()
    assert len(hook.taken) == TRIES
    hook.status, people.seconds = 200, 5.0
    people.look(LOW, after=24 * 3600)
    assert len(hook.taken) == TRIES + 1


def test_many_at_once_are_one_message(people: People, hook: Webhook, other: Webhook) -> None:
    many = [replace(LOW, key=f"performance/{n}", title=f"alert {n}") for n in range(MOST + 5)]
    worst = replace(LOW, level="critical", title="the worst")
    people.look(*many, worst)
    assert hook.titles == ["failure: the worst", f"warning: heart: {MOST + 5} alerts at once"]
    assert "warning: alert 3\n" in hook.taken[1]["message"]
    assert other.titles == ["failure: the worst"]
    assert people.look(*many, worst).sent == 0


def test_without_channels_alerts_are_noted(tmp_path: Path) -> None:
    nobody = People(tmp_path)
    assert nobody.look(LOW).opened == [LOW]
    assert nobody.look(LOW).opened == []
    assert nobody.open() == [LOW.key]
    nobody.look()
    nobody.look(after=QUIET_SECONDS)
    assert nobody.open() == []


def test_a_book_that_is_none_is_named(tmp_path: Path) -> None:
    store = Storage(tmp_path)
    store.write_json("heart/alerts/open.json", {"open": [{"alert": 1}]})
    with pytest.raises(ValueError, match=r"alerts/open\.json is no book of alerts"):
        book.read(store, "heart")


KILLED = """
import sys
from datetime import timedelta
from tests.alerting.test_alerting import *
people = People(Path(sys.argv[1]), Channel("1-json", "info", sys.argv[2]))
people.now += timedelta(seconds=100 * int(sys.argv[3]))
people.look(LOW)
"""


def test_a_kill_between_message_and_record_repeats_it_once(tmp_path: Path, hook: Webhook) -> None:
    running: list[subprocess.Popen[bytes]] = []

    def look(number: int) -> int:
        command = [sys.executable, "-c", KILLED, str(tmp_path), hook.url(), str(number)]
        running.append(subprocess.Popen(command))
        return running[-1].wait(60)

    hook.on_message = lambda: os.kill(running[-1].pid, signal.SIGKILL)
    assert look(1) == -signal.SIGKILL
    hook.on_message = lambda: None
    assert look(2) == 0
    assert look(3) == 0
    assert hook.titles == ["warning: accuracy is low"] * 2


def test_the_command_lists_what_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    monkeypatch.delenv("MLOPS_STORAGE_ROOT", raising=False)
    assert main(["alerts"]) == 0
    assert capsys.readouterr().out == "no alert is open\n"
    noted = book.read(Storage(tmp_path / "storage"), "churn")
    Alerting(noted, [], timedelta(hours=1)).settle(Seen([LOW]), NOW)
    assert main(["alerts", "--use-case", "churn"]) == 0
    assert "accuracy is low (told to: nobody)\n  WARNING, since 2026" in capsys.readouterr().out
    assert main(["alerts", "--json"]) == 0
    assert '"key": "performance/measured"' in capsys.readouterr().out
