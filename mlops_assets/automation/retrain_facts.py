"""What the retrain policy has to go by, from the storage, the ledger and Dagster's records.

A sensor asks every few seconds: runs and the checks of the training set are looked up only when
there is something to train.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import dagster as dg

from mlops_assets.automation.jobs import Jobs
from mlops_assets.lib.features.dbt_project import FeatureModel
from mlops_assets.lib.records import current
from mlops_assets.lib.records.batches import Batches
from mlops_assets.lib.records.history import Entry, champion, last_contest, last_verdict, withdrawn
from mlops_assets.lib.records.ledger import BATCH_DECISIONS, Ledger
from mlops_assets.lib.retraining import signs
from mlops_assets.lib.retraining.policy import Facts, Score, Unseen
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.stages import promotion, training_set, validated
from mlops_assets.stages.evidence import Batch, Finding, findings, gating, look_at_batches


@dataclass(frozen=True)
class Look:
    """A look at a use case.

    Attributes:
        facts: For the policy.
        subject: What a retrain would be about: the same for the same work.
    """

    facts: Facts
    subject: str


def look(
    instance: dg.DagsterInstance,
    store: Storage,
    spec: UseCase,
    model: FeatureModel,
    job: str,
    now: datetime,
) -> Look | None:
    """Look at a use case; None where no batch has been accepted yet.

    Args:
        instance: Dagster's records.
        store: The storage root.
        spec: The use case.
        model: Its features.
        job: The retrain job.
        now: With a time zone.
    """
    looked = look_at_batches(instance, Batches(store, spec.name), spec, model)
    accepted = [batch for batch in looked if batch.state == "accepted"]
    if not accepted:
        return None
    entries = Ledger(store, spec.name).entries()
    # A version that was adopted says nothing of the rows that are here.
    verdict = last_verdict([entry for entry in entries if not entry.get("origin")])
    wanted = training_set.wanted_digest(spec, model, accepted)
    # A batch that was taken out and put back is new work on old rows.
    turn = sum(entry["decision"] in BATCH_DECISIONS for entry in entries)
    subject = f"{wanted}/{turn}" if turn else wanted
    judged = set(verdict.get("batches", ())) if verdict else set()
    unseen = [batch for batch in reversed(accepted) if batch.receipt.key not in judged]
    contest = last_contest(entries)
    windows, scores = _signs(store, spec, entries, unseen, contest)
    facts = Facts(now, contest, windows=windows, scores=scores)
    if verdict is not None and verdict.get("wanted") == wanted:
        return Look(facts, subject)
    jobs, refusals = Jobs(instance, job), _refusals(instance, store, spec)
    made = current.read(store, spec.name, training_set.STAGE)
    said = "; ".join(f"{finding.check}: {finding.said}" for finding in refusals)
    facts = replace(
        facts,
        changed=_changed(spec, model, accepted, entries, verdict),
        unseen=tuple(
            Unseen(
                datetime.fromisoformat(batch.receipt.landed_at),
                batch.pointers[validated.STAGE]["rows"],
            )
            for batch in unseen
        ),
        refused=said if made is not None and made["wanted"] == wanted else "",
        at_work=jobs.active(),
        failed=tuple(jobs.failed(_answered(entries) | {finding.run for finding in refusals})),
    )
    return Look(facts, subject)


def _signs(
    store: Storage,
    spec: UseCase,
    entries: list[Entry],
    unseen: Sequence[Batch],
    contest: datetime | None,
) -> tuple[tuple[bool, ...], tuple[Score, ...]]:
    """The windows and the scores of the champion; nothing where there is none."""
    crowned, plan = champion(entries), spec.retrain
    if crowned is None:
        return (), ()
    bundle, keys = crowned["bundle"], [batch.receipt.key for batch in unseen]
    drift, performance = plan.drift, plan.performance
    return (
        signs.windows(store, spec.name, bundle, keys, contest, drift.windows) if drift else (),
        signs.scores(store, spec.name, bundle, performance) if performance else (),
    )


def _refusals(instance: dg.DagsterInstance, store: Storage, spec: UseCase) -> list[Finding]:
    """The checks that the current training set has failed."""
    made = current.read(store, spec.name, training_set.STAGE)
    if made is None:
        return []
    asked = gating(training_set.checks(spec), made["digest"])
    return [finding for finding in findings(instance, asked) if finding.status == "failed"]


def _answered(entries: list[Entry]) -> set[str]:
    """The runs by which the gate has decided."""
    return {
        str(entry["actor"]).removeprefix(promotion.RUN)
        for entry in entries
        if entry.get("decided_by") == "gate"
    }


def _changed(
    spec: UseCase,
    model: FeatureModel,
    accepted: Sequence[Batch],
    entries: list[Entry],
    verdict: Entry | None,
) -> str:
    """What else than new rows is made otherwise than for the last decision; empty if nothing is."""
    if verdict is None:
        return ""
    judged, keys = set(verdict.get("batches", ())), {batch.receipt.key for batch in accepted}
    since = entries[verdict["sequence"] :]
    back = {e["batch"] for e in since if e["decision"] == "restored"} & (keys - judged)
    out = withdrawn(entries) & judged
    moved = [("withdrawn", out), ("put back", back)]
    said = [f"batch {', '.join(sorted(some))} was {word}" for word, some in moved if some]
    if said:
        return "; ".join(said)
    known = [batch for batch in accepted if batch.receipt.key in judged]
    if training_set.wanted_digest(spec, model, known) == verdict.get("wanted"):
        return ""
    return "the SQL, the contract, the training plan or rows of before were changed"
