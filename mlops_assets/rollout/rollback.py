"""Puts a former champion back, in one step: decided by a person, carried out at once.

The decision is a line of the ledger before anything moves. Whoever is killed between leaves it
open, and the rollout sensor, or the same command again, finishes it.
"""

from typing import Any

from mlops_assets.lib.bundles.bundle import verify_stored
from mlops_assets.lib.records.history import (
    Entry,
    awaiting_rollout,
    barred,
    champion,
    former_champions,
    moment,
    until,
)
from mlops_assets.lib.records.ledger import Ledger, MovedOnError, in_a_line
from mlops_assets.lib.storage.root import Storage
from mlops_assets.operations.versions import LEAST_CHARACTERS


class NoWayBackError(ValueError):
    """There is nothing to go back to, or not there; the message names what there is."""


def decide_rollback(
    store: Storage, ledger: Ledger, *, to: str | None, actor: str, reason: str
) -> Entry:
    """Write into the ledger that a former champion is to serve again.

    Args:
        store: The storage root.
        ledger: Of the use case.
        to: A version that was champion, the start of its bundle's digest, or a date: the champion
            of then. Without it the champion before, or the present one while another version is
            being rolled out.
        actor: Who decides.
        reason: Why, in a line.

    Returns:
        The entry to carry out: a new one, or that of the same decision which is still open, or the
        promotion of the champion where it is the champion that is wanted.

    Raises:
        NoWayBackError: If there is no such champion.
        BundleError: If its bundle is damaged or gone; nothing is written then.
        ValueError: If no reason is given.
    """
    reason = in_a_line(reason)
    while True:
        entries = ledger.verify()
        waiting, crowned = awaiting_rollout(entries), champion(entries)
        target = _target(entries, waiting, crowned, to)
        verify_stored(store, target["path"], target["bundle"])
        decided = waiting is not None and waiting["decision"] == "rolled_back"
        if waiting is not None and decided and waiting["bundle"] == target["bundle"]:
            return waiting
        if waiting is None and crowned is not None and crowned["bundle"] == target["bundle"]:
            return crowned
        leaving = waiting or crowned or {}
        names = ("version", "bundle", "path", "training_set", "wanted")
        facts: dict[str, Any] = {name: target.get(name) for name in names} | {
            "from": {name: leaving[name] for name in ("version", "bundle")},
            "actor": actor,
            "decided_by": "person",
            "reasons": [reason],
        }
        try:
            return ledger.append("rolled_back", facts, after=len(entries))
        except MovedOnError:
            continue


def _target(
    entries: list[Entry], waiting: Entry | None, crowned: Entry | None, to: str | None
) -> Entry:
    former = former_champions(entries)
    known = [*([crowned] if crowned else []), *former]
    if to is None:
        if waiting is not None and waiting["decision"] == "rolled_back":
            return waiting  # it was decided, and not carried out yet
        if waiting is not None and crowned is not None:
            return crowned
        # What was rolled back once is not what anybody wants back without saying so.
        out = barred(entries)
        good = [entry for entry in former if entry["bundle"] not in out]
        if not good:
            said = "there is no former champion to go back to that was not rolled back itself"
            raise NoWayBackError(said + _there(known))
        return good[0]
    by_name = [e for e in known if to == e["version"]] or [
        e for e in known if len(to) >= LEAST_CHARACTERS and e["bundle"].startswith(to)
    ]
    if len(by_name) == 1:
        return by_name[0]
    if by_name:
        raise NoWayBackError(f"{to!r} is the start of several digests: give more of it")
    if "-" not in to:
        said = f"version {to!r} has never been champion"
        raise NoWayBackError(f"{said}, so there is nothing to go back to{_there(known)}")
    then = champion(until(entries, moment(to)))
    if then is None:
        raise NoWayBackError(f"nothing was champion at {to}{_there(known)}")
    return then


def _there(known: list[Entry]) -> str:
    shown = [f"{e['version']} ({e['bundle'][:12]}, {e['time'][:10]})" for e in known]
    return f"; there were: {', '.join(shown)}" if shown else ""
