"""What the ledger's entries come to: who is champion, what waits, what was taken out.

Pure functions of the entries, first to last. What was true at an earlier time is what the entries
up to then come to.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from mlops_assets.lib.records.ledger import BATCH_DECISIONS

Entry = dict[str, Any]
# What the gate says of a version. A person's answer has ``decided_by`` "person".
VERDICTS = ("approved", "rejected", "pending")
# A version is to serve from now on.
MOVES = ("approved", "rolled_back")


def last_decision(entries: list[Entry], bundle: str) -> Entry | None:
    """The newest entry about a bundle."""
    return next((entry for entry in reversed(entries) if entry.get("bundle") == bundle), None)


def last_verdict(entries: list[Entry]) -> Entry | None:
    """The newest decision of the gate, or of a person in its place."""
    return next((entry for entry in reversed(entries) if entry["decision"] in VERDICTS), None)


def adoption(entries: list[Entry], bundle: str) -> Entry | None:
    """The newest entry by which a bundle of another environment was adopted; None if none was."""
    about = (e for e in reversed(entries) if e.get("bundle") == bundle and e.get("origin"))
    return next(about, None)


def last_contest(entries: list[Entry]) -> datetime | None:
    """When the gate, and no person in its place, last judged a version."""
    judged = [e for e in entries if e["decision"] in VERDICTS and e.get("decided_by") != "person"]
    return datetime.fromisoformat(judged[-1]["time"]) if judged else None


def awaiting_rollout(entries: list[Entry]) -> Entry | None:
    """The newest decision that a version is to serve, unless it does, or was rejected, since.

    A bundle that is promoted while a newer one is approved settles its own decision only. One that
    was made of a batch that has been withdrawn waits for nothing, unless a person wants it back.
    One that was taken back for what it did, or by a person, waits for another decision; one whose
    rollout could not be carried out is tried again.
    """
    settled, out = set(), withdrawn(entries)
    for entry in reversed(entries):
        if entry["decision"] in MOVES:
            bad = entry["decision"] == "approved" and out & set(entry.get("batches", ()))
            return None if bad or entry.get("bundle") in settled else entry
        if entry["decision"] in ("promoted", "rejected") or entry.get("final"):
            settled.add(entry.get("bundle"))
    return None


def under_way(entries: list[Entry]) -> tuple[Entry, Entry] | None:
    """The decision that is being carried out, and the entry that says that this has begun."""
    move = awaiting_rollout(entries)
    if move is None or move["decision"] != "approved":
        return None
    for entry in reversed(entries):
        if entry["decision"] == "rolling_out" and entry["decision_of"] == move["sequence"]:
            return move, entry
    return None


def awaiting_approval(entries: list[Entry]) -> list[Entry]:
    """The entries of the versions that wait for a person, oldest first."""
    latest = {entry["bundle"]: entry for entry in entries if entry.get("bundle")}
    return [entry for entry in latest.values() if entry["decision"] == "pending"]


def champion(entries: Iterable[Entry]) -> Entry | None:
    """The entry that made the present champion."""
    crowned = [entry for entry in entries if entry["decision"] == "promoted"]
    return crowned[-1] if crowned else None


def former_champions(entries: list[Entry]) -> list[Entry]:
    """The entry of each former champion's last time, newest first, without the present one."""
    latest = {e["bundle"]: e for e in entries if e["decision"] == "promoted"}
    present = champion(entries)
    crowned = sorted(latest.values(), key=lambda entry: entry["sequence"], reverse=True)
    return [entry for entry in crowned if present and entry["bundle"] != present["bundle"]]


def moment(text: str) -> datetime:
    """A moment from what a person writes; a date is the end of that day, and UTC unless it says so.

    Raises:
        ValueError: If it is no ISO 8601 date or time.
    """
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no date: write 2026-03-31 or 2026-03-31T14:30") from None
    if len(text) == len("2026-03-31"):
        read += timedelta(days=1, microseconds=-1)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def until(entries: list[Entry], moment: datetime) -> list[Entry]:
    """The entries that had been written at a moment (with a time zone)."""
    return [entry for entry in entries if datetime.fromisoformat(entry["time"]) <= moment]


def barred(entries: list[Entry]) -> dict[str, Entry]:
    """Bundles that were taken or kept out of production, and no person has let in since.

    By bundle, the entry that did: a person's rollback away from it, or rejection, or a rollout that
    took it back for good.
    """
    out: dict[str, Entry] = {}
    for entry in entries:
        by_person = entry.get("decided_by") == "person"
        if entry["decision"] == "rolled_back":
            out[entry["from"]["bundle"]] = entry
            out.pop(entry["bundle"], None)
        elif (by_person and entry["decision"] == "rejected") or entry.get("final"):
            out[entry["bundle"]] = entry
        elif by_person and entry["decision"] == "approved":
            out.pop(entry["bundle"], None)
    return out


def standing(entries: list[Entry]) -> dict[str, tuple[Entry, str]]:
    """The newest entry about each bundle and, in a word, how it stands; first decided first."""
    out, crowned = barred(entries), champion(entries)
    found: dict[str, tuple[Entry, str]] = {}
    for entry in entries:
        bundle = entry.get("bundle")
        if bundle is None:
            continue
        word = entry["decision"]
        if word == "promoted" and crowned is not None and crowned["bundle"] != bundle:
            word = "former champion"
        if bundle in out and word not in ("rejected", "aborted"):
            word = "rolled back"
        found[bundle] = (entry, word)
    return found


def withdrawn(entries: list[Entry]) -> set[str]:
    """The batches that were taken out and not put back."""
    latest = {e["batch"]: e["decision"] for e in entries if e["decision"] in BATCH_DECISIONS}
    return {batch for batch, decision in latest.items() if decision == "withdrawn"}
