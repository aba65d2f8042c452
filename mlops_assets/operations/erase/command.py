"""``mlops erase``: removes whom rows are about, and names what was made of them.

A tombstone in the ledger comes first; from then on ``raw`` leaves their rows out. It names row
numbers, so that a command that was killed finds again what is left, also where the rows themselves
are gone. The other rows keep their numbers, and so their side of the split.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg

from mlops_assets.lib.records.ledger import in_a_line
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.operations.erase.case import Case
from mlops_assets.operations.erase.finding import REMOVED, Found, look
from mlops_assets.operations.erase.logged import Logged, look_into_log, remove_from_log
from mlops_assets.operations.erase.removing import remove
from mlops_assets.operations.erase.staying import what_stays
from mlops_assets.operations.prune import BusyError, is_of


class NobodyError(ValueError):
    """Neither a batch nor the prediction log has a row of this entity."""


class LeftError(ValueError):
    """Rows are left, since something was made of them meanwhile; the message says what to do."""


def erase(
    store: Storage,
    spec: UseCase,
    instance: dg.DagsterInstance | None,
    entity: str,
    *,
    actor: str,
    reason: str,
    in_advance: bool = False,
) -> Iterator[str]:
    """Erase whom rows are about. Called again, it goes on where it was killed.

    Args:
        store: The storage root.
        spec: The use case.
        instance: Dagster's records, or None where nothing has run yet.
        entity: As the entity's column of a landed file has it.
        actor: Who decides.
        reason: Why, in a line. It must not say who it is.
        in_advance: Write the tombstone although nothing has a row yet.

    Yields:
        A sentence for each thing that was done, or has to be known.

    Raises:
        ValueError: If the contract has no entity, the id is empty, or no reason is given.
        NobodyError: If nothing has a row; nothing is written.
        BusyError: If runs are at work, after the tombstone was written.
        LeftError: If rows are there again at the end.
    """
    entity, reason = entity.strip(), in_a_line(reason)
    if not entity:
        raise ValueError("say who is to be erased")
    if entity in reason:
        raise ValueError("the reason names the entity: the ledger keeps it for ever")
    case = Case(store, spec, entity)
    case.ledger.verify()
    found, logged = look(case), look_into_log(case)
    if not (found.rows or logged.rows or case.tombstones() or in_advance):
        unread = f" ({', '.join(sorted(logged.unread))} cannot be read)" if logged.unread else ""
        raise NobodyError(
            f"{spec.name}: no batch has a row of this entity, nor has the prediction log{unread}, "
            "and nothing was written; --in-advance leaves it out of what lands from now on"
        )
    if _is_news(case, found):
        entry = case.ledger.append("erased", _facts(case, found, logged, actor, reason))
        yield f"entry {entry['sequence']} of the ledger is the tombstone; it does not say who"
    # A run that began before the tombstone has not seen it.
    _refuse_busy(spec, instance, "the tombstone is written")
    for key, rows in case.recorded().items():
        said = f"batch {key}: {len(rows)} rows" if rows else f"batch {key}: malformed lines"
        yield f"{said} of this entity"
    yield from remove_from_log(case, logged)
    yield from remove(case, found)

    left = look(case)
    if not left.is_clean:
        raise LeftError(
            f"{spec.name}: {', '.join(left.files) or 'training sets'} hold rows of them, "
            "written by a run that began before the tombstone: run the command again"
        )
    _refuse_busy(spec, instance, "nothing was left just now")
    yield "nothing of them is left in batches, training sets and candidates"
    yield from what_stays(case, left)


def _is_news(case: Case, found: Found) -> bool:
    known = case.recorded()
    new = any(set(rows) - set(known.get(key, [])) for key, rows in found.rows.items())
    return new or not case.tombstones() or not found.rows.keys() <= known.keys()


def _facts(case: Case, found: Found, logged: Logged, actor: str, reason: str) -> dict[str, Any]:
    return {
        "entity": case.marks,
        "actor": actor,
        "reasons": [reason],
        "rows": found.rows,
        "predictions": sum(logged.by_day("served").values()),
        **{kind: sorted(found.folders[kind]) for kind in REMOVED},
    }


def _refuse_busy(spec: UseCase, instance: dg.DagsterInstance | None, so_far: str) -> None:
    if instance is None:
        return
    records = instance.get_run_records()
    runs = [r.dagster_run for r in records if is_of(spec.name, r.dagster_run)]
    busy = [run.run_id[:8] for run in runs if not run.is_finished]
    if busy:
        raise BusyError(
            f"{spec.name}: {so_far}, but {len(busy)} runs are queued or at work "
            f"({', '.join(busy[:3])}) and may hold rows of them: when they have ended, run the "
            "command again"
        )
