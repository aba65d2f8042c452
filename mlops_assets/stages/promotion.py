"""``promotion``: the gate. It reads every result itself, fails closed, and writes the ledger.

Nothing else stands between a version and production: assets can be materialised by hand in any
order, and Dagster emits an asset whose check has failed.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import dagster as dg

from mlops_assets.lib.bundles.bundle import verify_stored
from mlops_assets.lib.digests import digest_of, short
from mlops_assets.lib.evaluation.contest import broken_floors
from mlops_assets.lib.personal_data.erasure import made_of_erased
from mlops_assets.lib.records import current
from mlops_assets.lib.records.ledger import champion, last_decision, last_verdict, withdrawn
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.resources import StorageRoot
from mlops_assets.stages import candidates, evaluation, registered_version, training_set
from mlops_assets.stages.checks import Check, Checks, asset_key, common
from mlops_assets.stages.evidence import Finding, findings, gating
from serving.bundle.manifest import BundleError

STAGE = "promotion"
Wanted = list[tuple[dg.AssetCheckKey, str]]
BatchChecks = Callable[[dict[str, str]], Wanted]


def checks(spec: UseCase) -> Checks:
    """The gate itself; the subject is the bundle's digest."""
    question = "Every check the version needs has passed, for exactly the digests it is made of."
    return Checks(asset_key(spec, STAGE), (Check("gate", question, blocking=True),))


def wanted(
    spec: UseCase, batch_checks: BatchChecks, manifest: dict[str, Any], digest: str
) -> Wanted:
    """Every check that a version needs, with the digest that it must have judged.

    Args:
        spec: The use case.
        batch_checks: Gives the checks of a batch from its digests.
        manifest: Of the bundle.
        digest: Of the bundle.
    """
    lineage = manifest["lineage"]
    return [
        *(want for batch in lineage["batches"] for want in batch_checks(batch)),
        *gating(training_set.checks(spec), lineage["training_set"]),
        *gating(candidates.checks(spec, lineage["algorithm"]), lineage["candidate"]),
        *gating(evaluation.checks(spec), lineage["evaluation"]),
        *gating(registered_version.checks(spec), digest),
    ]


def build(spec: UseCase, batch_checks: BatchChecks) -> dg.Definitions:
    """The asset ``promotion`` with the gate."""
    asked = checks(spec)

    @dg.asset(
        key=asked.asset,
        deps=[asset_key(spec, registered_version.STAGE)],
        check_specs=asked.specs(),
        description="The verdict on the challenger, as a line of the ledger: approved or rejected.",
        **common(spec, STAGE, "ledger"),
    )
    def promotion(
        context: dg.AssetExecutionContext, storage: StorageRoot
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        store, ledger = storage.open(), storage.ledger(spec.name)
        challenger = current.read(store, spec.name, registered_version.STAGE)
        if challenger is None:
            raise dg.Failure("there is no registered version: materialise registered_version")
        digest = challenger["digest"]
        entries = ledger.verify()
        reasons: list[str] = []
        found: list[Finding] = []
        lineage: dict[str, Any] = {}
        try:
            manifest = verify_stored(store, challenger["bundle"], digest)
        except BundleError as error:
            reasons.append(f"the bundle is not what was registered: {error}")
        else:
            lineage = manifest["lineage"]
            found = findings(context.instance, wanted(spec, batch_checks, manifest, digest))
            reasons += [
                f"{f.asset} {f.check} of {short(f.subject)}: {f.said or 'no result'} ({f.status})"
                for f in found
                if f.status != "passed"
            ]
            out = withdrawn(entries)
            used = [batch["key"] for batch in lineage["batches"]]
            reasons += [f"batch {key} was withdrawn" for key in used if key in out]
            reasons += made_of_erased(store, spec.name, lineage["batches"])
            reasons += _under_the_floors(store, spec, lineage["evaluation"])
        decision: Literal["approved", "rejected"] = "rejected" if reasons else "approved"
        entry, verdict = last_decision(entries, digest), last_verdict(entries)
        decided = entry and (entry["decision"], entry.get("reasons"))
        settled = entry is not None and (
            (entry == verdict and decided == (decision, reasons))
            # A version that already serves needs no second approval, unless something else has been
            # judged since: the last verdict says what the accepted batches came to.
            or (
                not reasons
                and entry == champion(entries)
                and verdict is not None
                and verdict.get("wanted") == lineage["wanted"]
            )
        )
        if entry is None or not settled:
            entry = ledger.append(
                decision,
                {
                    "version": challenger["version"],
                    "bundle": digest,
                    "path": challenger["bundle"],
                    "training_set": lineage.get("training_set"),
                    "wanted": lineage.get("wanted"),
                    "batches": [batch["key"] for batch in lineage.get("batches", ())],
                    "actor": f"dagster run {context.run.run_id}",
                    "reasons": reasons,
                    "checks": [finding.as_dict() for finding in found],
                },
            )
        passed = sum(finding.status == "passed" for finding in found)
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(entry["hash"]),
            metadata={
                "decision": entry["decision"],
                "version": challenger["version"],
                "reasons": dg.MetadataValue.md("\n".join(f"- {r}" for r in reasons) or "none"),
                "checks": dg.MetadataValue.md(_table(found)),
                "ledger entry": entry["sequence"],
                "bundle": digest,
            },
        )
        said = f"version {challenger['version']} {decision}: {passed} of {len(found)} checks passed"
        if reasons:
            said += "; " + "; ".join(reasons)
        yield asked.result(context, "gate", not reasons, digest, said)

    return dg.Definitions(assets=[promotion])


def _under_the_floors(store: Storage, spec: UseCase, digest: str) -> list[str]:
    """Apply the floors of the spec as it is now: they may have been raised since the evaluation."""
    record = store.read_json(f"{spec.name}/evaluations/{digest}.json") or {}
    if digest_of({key: value for key, value in record.items() if key != "digest"}) != digest:
        return [f"evaluation {short(digest)} is missing or has changed since it was judged"]
    return broken_floors(spec.gate.floors, record["out_of_fold"], record["test"])


def _table(found: list[Finding]) -> str:
    lines = ["| asset | check | subject | result |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {f.asset} | {f.check} | `{short(f.subject)}` | {f.status}: {f.said} |" for f in found
    ]
    return "\n".join(lines)
