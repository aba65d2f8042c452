"""The gate: what stands between a registered version and production, asked anew each time.

Blessings first: one passing result of every check, for exactly the digests that the version is made
of. Then the contest with the champion. The asset ``promotion`` asks it, and so does a person who
approves, or adopts a version of another environment, whose checks were asked there; a person may
outvote the contest where it was undecided, and never a blessing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from mlops_assets.lib.bundles.bundle import verify_stored
from mlops_assets.lib.comparison.judge import Judged, judge
from mlops_assets.lib.digests import digest_of, short
from mlops_assets.lib.evaluation.contest import broken_floors
from mlops_assets.lib.personal_data.erasure import made_of_erased
from mlops_assets.lib.records.history import Entry, adoption, barred, champion, withdrawn
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.stages import candidates, evaluation, registered_version, training_set
from mlops_assets.stages.evidence import Finding, findings, gating, recorded
from serving.bundle.manifest import BundleError

Wanted = list[tuple[dg.AssetCheckKey, str]]
BatchChecks = Callable[[dict[str, str]], Wanted]
Evidence = Callable[[Wanted], list[Finding]]
# Outcomes of a contest that a person may outvote.
OPEN = ("equivalent", "inconclusive")


@dataclass(frozen=True)
class Version:
    """A registered version: its number, and the bundle as key and digest."""

    number: str
    digest: str
    path: str


@dataclass
class Judgement:
    """What the gate finds about a version.

    Attributes:
        version: Which.
        lineage: What it is made of; empty where its bundle is not what was registered.
        checks: Every check that it needs, with what it said.
        objections: Why it has no blessing. Nobody outvotes them.
        serves: Whether it is the champion: there is nothing to compare it with.
        contest: Its score against the champion's; None without a blessing.
        barred: The decision by which it is kept out, if no person has let it in again.
    """

    version: Version
    lineage: dict[str, Any] = field(default_factory=dict)
    checks: list[Finding] = field(default_factory=list)
    objections: list[str] = field(default_factory=list)
    serves: bool = False
    contest: Judged | None = None
    barred: Entry | None = None

    @property
    def reasons(self) -> list[str]:
        """Why it is not promoted by the gate alone: empty if it is."""
        if self.objections:
            return self.objections
        against = []
        if self.contest is not None and not self.contest.promotion.promotes:
            against.append(f"{self.contest.verdict.said}; {self.contest.promotion.why}")
        if self.barred is not None:
            words = {"rolled_back": "rolled back", "aborted": "taken back from a rollout"}
            done = words.get(self.barred["decision"], "rejected")
            against.append(
                f"it was {done} on {self.barred['time'][:10]} by {self.barred['actor']}: only a "
                "person lets it in again (`mlops promote`)"
            )
        return against

    def facts(self) -> dict[str, Any]:
        """What the ledger keeps of it, whoever decides."""
        return {
            "version": self.version.number,
            "bundle": self.version.digest,
            "path": self.version.path,
            "training_set": self.lineage.get("training_set"),
            "wanted": self.lineage.get("wanted"),
            "batches": [batch["key"] for batch in self.lineage.get("batches", ())],
            "checks": [finding.as_dict() for finding in self.checks],
            "verdict": self.contest and self.contest.verdict.as_dict(),
        }


def ask(
    instance: dg.DagsterInstance,
    store: Storage,
    spec: UseCase,
    batch_checks: BatchChecks,
    version: Version,
    entries: list[Entry],
) -> Judgement:
    """Judge a version by Dagster's records, the storage and the ledger as they are now.

    Of a version that was adopted, the ledger says what its checks found elsewhere.

    Args:
        instance: Dagster's records.
        store: The storage root.
        spec: The use case.
        batch_checks: Gives the checks of a batch from its digests.
        version: Of the registered model.
        entries: Of a ledger that was verified.
    """
    adopted = adoption(entries, version.digest)

    def evidence(asked: Wanted) -> list[Finding]:
        here = findings(instance, asked)
        if adopted is None:
            return here
        there = recorded(adopted, asked)
        both = zip(here, there, strict=True)
        return [kept if found.status == "missing" else found for found, kept in both]

    return judge_version(evidence, store, spec, batch_checks, version, entries)


def judge_version(
    evidence: Evidence,
    store: Storage,
    spec: UseCase,
    batch_checks: BatchChecks,
    version: Version,
    entries: list[Entry],
) -> Judgement:
    """Judge a version by what its checks have found, the storage and the ledger as they are now.

    Args:
        evidence: Gives what each of these checks found.
        store: The storage root.
        spec: The use case.
        batch_checks: Gives the checks of a batch from its digests.
        version: Its bundle lies in the storage.
        entries: Of a ledger that was verified.
    """
    crowned = champion(entries)
    found = Judgement(
        version,
        serves=crowned is not None and crowned["bundle"] == version.digest,
        barred=barred(entries).get(version.digest),
    )
    try:
        manifest = verify_stored(store, version.path, version.digest)
    except BundleError as error:
        found.objections.append(f"the bundle is not what was registered: {error}")
        return found
    found.lineage = lineage = manifest["lineage"]
    found.checks = evidence(wanted(spec, batch_checks, lineage, version.digest))
    found.objections += [
        f"{f.asset} {f.check} of {short(f.subject)}: {f.said or 'no result'} ({f.status})"
        for f in found.checks
        if f.status != "passed"
    ]
    out = withdrawn(entries)
    used = [batch["key"] for batch in lineage["batches"]]
    found.objections += [f"batch {key} was withdrawn" for key in used if key in out]
    found.objections += made_of_erased(store, spec.name, lineage["batches"])
    found.objections += _under_the_floors(store, spec, lineage["evaluation"])
    if not found.objections and not found.serves:
        found.contest = judge(store, spec, version.digest, lineage, crowned, entries)
    return found


def wanted(
    spec: UseCase, batch_checks: BatchChecks, lineage: dict[str, Any], digest: str
) -> Wanted:
    """Every check that a version needs, with the digest that it must have judged.

    Args:
        spec: The use case.
        batch_checks: Gives the checks of a batch from its digests.
        lineage: Of the bundle's manifest.
        digest: Of the bundle.
    """
    return [
        *(want for batch in lineage["batches"] for want in batch_checks(batch)),
        *gating(training_set.checks(spec), lineage["training_set"]),
        *gating(candidates.checks(spec, lineage["algorithm"]), lineage["candidate"]),
        *gating(evaluation.checks(spec), lineage["evaluation"]),
        *gating(registered_version.checks(spec), digest),
    ]


def _under_the_floors(store: Storage, spec: UseCase, digest: str) -> list[str]:
    """Apply the floors of the spec as it is now: they may have been raised since the evaluation."""
    record = store.read_json(f"{spec.name}/evaluations/{digest}.json") or {}
    if digest_of({key: value for key, value in record.items() if key != "digest"}) != digest:
        return [f"evaluation {short(digest)} is missing or has changed since it was judged"]
    return broken_floors(spec.gate.floors, record["out_of_fold"], record["test"])
