"""Channels: whatever is at the other end, nothing waits for it, and no secret gets out."""

import email
import logging
import time
from email.header import decode_header, make_header
from pathlib import Path

import pytest

from mlops_assets.alerting.channels import FILE_VARIABLE, VARIABLE, Channel, channels
from mlops_assets.cli import main
from tests.alerting.receivers import Webhook, mail_server

SECRET = "hunter2hunter2"


def send(url: str, seconds: float = 5.0, over: bool = False) -> str:
    return Channel("1-x", "info", url).send("a title", "a text", "critical", over, seconds)


def test_a_webhook_gets_title_text_and_level(hook: Webhook) -> None:
    assert send(hook.url()) == ""
    assert send(hook.url(), over=True) == ""
    (first, second) = hook.taken
    assert (first["title"], first["message"], first["type"]) == ("a title", "a text", "failure")
    assert second["type"] == "success"


def test_one_that_hangs_costs_its_seconds(hook: Webhook) -> None:
    hook.status = None
    begun = time.monotonic()
    assert send(hook.url(), 0.5) in ("no answer within 0.5 s", "not taken, or not reached")
    assert time.monotonic() - begun < 3


def test_nothing_secret_is_logged_said_or_shown(
    hook: Webhook, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("apprise").setLevel(logging.DEBUG)
    said = [send(hook.url(SECRET))]
    hook.status = 500
    said.append(send(hook.url(SECRET)))
    assert said == ["", "answered 500"]
    said.append(send(f"json://user:{SECRET}@127.0.0.1:1/{SECRET}"))
    said.append(send(f"slack://{SECRET}"))
    said.append(send(f"nosuch://{SECRET}"))
    said.append(repr(Channel("1-json", "info", hook.url(SECRET))))
    assert all(said[1:])
    for text in (*said, caplog.text, *capfd.readouterr()):
        assert SECRET not in text
    # Others may log as they like.
    logging.getLogger("apprise").warning("seen")
    assert "seen" in caplog.text


def test_a_mail_arrives() -> None:
    mails: list[str] = []
    with mail_server(mails) as port:
        assert send(f"mailto://127.0.0.1:{port}?from=mlops@example.org&to=me@example.org") == ""
    (mail,) = mails
    message = email.message_from_string(mail)
    assert str(make_header(decode_header(message["Subject"]))) == "a title"
    assert message["To"] == "me@example.org"
    parts = [part.get_payload(decode=True) for part in message.walk() if not part.is_multipart()]
    assert any(isinstance(part, bytes) and b"a text" in part for part in parts)


def test_channels_are_named_by_place_and_scheme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert channels() == ([], [])
    monkeypatch.setenv(VARIABLE, "critical=pagerduty://a@b  jsons://h/?a=b")
    file = tmp_path / "urls"
    file.write_text("# the team\n\nwarning=slack://x/y/z\n")
    monkeypatch.setenv(FILE_VARIABLE, str(file))
    found = [(channel.name, channel.least, channel.url) for channel in channels()[0]]
    assert found == [
        ("1-pagerduty", "critical", "pagerduty://a@b"),
        ("2-jsons", "info", "jsons://h/?a=b"),
        ("3-slack", "warning", "slack://x/y/z"),
    ]


@pytest.mark.parametrize("entry", [SECRET, f"fatal={SECRET}", f"warning={SECRET}", f"://{SECRET}"])
def test_an_address_that_is_none_is_named_by_its_place(
    entry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, f"json://fine {entry}")
    (fine,), (problem,) = channels()
    assert fine.name == "1-json"  # who is named well is told all the same
    assert "address 2 of MLOPS_ALERT_URLS" in problem
    assert SECRET not in problem


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FILE_VARIABLE, "/nowhere/urls")
    assert channels() == ([], ["MLOPS_ALERT_URLS_FILE=/nowhere/urls: No such file or directory"])


def test_the_command_sends_a_test(
    hook: Webhook, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["alerts", "test"]) == 1
    assert "no channel is named" in capsys.readouterr().err
    monkeypatch.setenv(VARIABLE, f"{hook.url(SECRET)} critical={hook.url(SECRET)}")
    assert main(["alerts", "test", "--level", "warning"]) == 0
    shown = capsys.readouterr().out
    assert "channel 1-json: sent" in shown
    assert "channel 2-json: takes critical and above" in shown
    assert hook.titles == ["warning: mlops: test alert"]
    hook.status = 500
    assert main(["alerts", "test"]) == 1
    assert "channel 1-json: answered 500" in (shown := capsys.readouterr().out)
    assert SECRET not in shown
