"""``promotion``: the gate's decision on the registered version, as a line of the ledger.

Nothing else stands between a version and production: assets can be materialised by hand in any
order, and Dagster emits an asset whose check has failed.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from mlops_assets.lib.digests import short
from mlops_assets.lib.records import current
from mlops_assets.lib.records.history import (
    Entry,
    awaiting_rollout,
    champion,
    last_decision,
    last_verdict,
)
from mlops_assets.lib.records.ledger import Kind, MovedOnError
from mlops_assets.lib.retraining.policy import Decision, asked_by
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.resources import MlflowTracking, StorageRoot
from mlops_assets.stages import gate, registered_version
from mlops_assets.stages.checks import Check, Checks, asset_key, common
from mlops_assets.stages.evidence import Finding

STAGE = "promotion"
RETRAIN = "retrain"
# How the ledger names a run that decides.
RUN = "dagster run "


def checks(spec: UseCase) -> Checks:
    """The gate and what it rests on; the subject is the bundle's digest."""
    return Checks(
        asset_key(spec, STAGE),
        (
            Check(
                "gate",
                "Every check the version needs has passed, for exactly the digests it is made of, "
                "and its score against the champion's is one that promotes.",
                blocking=True,
            ),
            Check(
                "verdict", "Scored on the same rows, it is better than the champion.", gate=False
            ),
            Check(
                RETRAIN,
                "A retrain that is due comes to a decision, and has rows to learn from; a sensor "
                "looks.",
                gate=False,
            ),
        ),
    )


def retrain_result(spec: UseCase, decision: Decision) -> dg.AssetCheckEvaluation:
    """What stands in the way of a retrain, as a result of the check ``retrain``."""
    return dg.AssetCheckEvaluation(
        asset_key=checks(spec).asset,
        check_name=RETRAIN,
        passed=not decision.trouble,
        severity=dg.AssetCheckSeverity.WARN,
        description=decision.reason,
    )


def build(spec: UseCase, batch_checks: gate.BatchChecks) -> dg.Definitions:
    """The asset ``promotion`` with the gate."""
    asked = checks(spec)

    @dg.asset(
        key=asked.asset,
        deps=[asset_key(spec, registered_version.STAGE)],
        check_specs=asked.specs(),
        description="The decision on the challenger, as a line of the ledger: approved, rejected, "
        "or pending until a person approves.",
        **common(spec, STAGE, "ledger"),
    )
    def promotion(
        context: dg.AssetExecutionContext, storage: StorageRoot, mlflow: MlflowTracking
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        store, ledger = storage.open(), storage.ledger(spec.name)
        retrain = asked_by(context.run.tags)
        because = f"{retrain['trigger'].replace('_', ' ')}: {retrain['reason']}"
        challenger = current.read(store, spec.name, registered_version.STAGE)
        if challenger is None:
            raise dg.Failure("there is no registered version: materialise registered_version")
        version = gate.Version(challenger["version"], challenger["digest"], challenger["bundle"])
        while True:
            entries = ledger.verify()
            found = gate.ask(context.instance, store, spec, batch_checks, version, entries)
            entry = _settled(spec, entries, found)
            if entry is not None:
                break
            facts = {
                **found.facts(),
                "actor": f"{RUN}{context.run.run_id}",
                "decided_by": "gate",
                "reasons": found.reasons,
                "retrain": retrain,
            }
            try:
                entry = ledger.append(_decision(spec, found), facts, after=len(entries))
                break
            except MovedOnError as error:
                context.log.info(f"judged once more: {error}")
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(entry["hash"]),
            metadata={
                "decision": entry["decision"],
                "version": version.number,
                "reasons": dg.MetadataValue.md(_list(entry.get("reasons") or []) or "none"),
                "verdict": found.contest.verdict.said if found.contest else "not compared",
                "trained because of": because,
                "what to do": dg.MetadataValue.md(_what_to_do(spec, entry)),
                "checks": dg.MetadataValue.md(_table(found.checks)),
                "model card in MLflow": dg.MetadataValue.url(
                    mlflow.version_url(spec.name, version.number)
                ),
                "ledger entry": entry["sequence"],
                "bundle": version.digest,
            },
        )
        yield _verdict(context, asked, found)
        said = f"a decision was made; trained because of {because}"
        yield asked.result(context, RETRAIN, True, version.digest, said)
        passed = sum(finding.status == "passed" for finding in found.checks)
        said = f"version {version.number} {entry['decision']}: "
        said += f"{passed} of {len(found.checks)} checks passed"
        reasons = entry.get("reasons") or []
        said += "".join(f"; {reason}" for reason in reasons)
        stopped = entry["decision"] == "rejected"
        counted = {"checks passed": passed, "checks asked": len(found.checks)}
        yield asked.result(context, "gate", not stopped, version.digest, said, counted)
        # Last: what was decided stands, whether MLflow can be told or not.
        mlflow.describe(spec.name, entry)

    return dg.Definitions(assets=[promotion])


def _decision(spec: UseCase, found: gate.Judgement) -> Kind:
    if found.reasons:
        return "rejected"
    return "pending" if spec.gate.approval == "manual" and not found.serves else "approved"


def _settled(spec: UseCase, entries: list[Entry], found: gate.Judgement) -> Entry | None:
    """The entry that says already what the gate would say now, if there is one."""
    entry, verdict = last_decision(entries, found.version.digest), last_verdict(entries)
    if entry is None or found.objections:
        same = entry is not None and entry.get("reasons") == found.reasons
        return entry if same and entry == verdict else None
    known = verdict is not None and verdict.get("wanted") == found.lineage["wanted"]
    own = last_verdict([e for e in entries if e.get("bundle") == found.version.digest])
    by_person = own is not None and own.get("decided_by") == "person" and not found.barred
    still = known or own == awaiting_rollout(entries)
    if own is not None and by_person and own["decision"] == "approved" and still:
        return own  # nothing has come up since that a person could not outvote
    if entry == verdict and entry["decision"] == _decision(spec, found):
        return entry
    # A version that already serves needs no second approval, unless something else has been judged
    # since: the last verdict says what the accepted batches came to.
    serves = not found.reasons and entry == champion(entries)
    return entry if serves and known else None


def _verdict(
    context: dg.AssetExecutionContext, asked: Checks, found: gate.Judgement
) -> dg.AssetCheckResult:
    digest, contest = found.version.digest, found.contest
    if contest is None:
        said = "it is the champion" if found.serves else "not compared: it has no blessing"
        return asked.result(context, "verdict", found.serves, digest, said)
    verdict, promotion = contest.verdict, contest.promotion
    numbers: dict[str, Any] = {"outcome": verdict.outcome, "rows": verdict.rows}
    if verdict.difference is not None:
        numbers |= {"level": verdict.level, "contest of the budget": verdict.look}
        numbers |= {f"difference ({end})": each for end, each in vars(verdict.difference).items()}
    said = f"{verdict.said}; {promotion.why}"
    return asked.result(context, "verdict", promotion.promotes, digest, said, numbers)


def _what_to_do(spec: UseCase, entry: Entry) -> str:
    version, name = entry["version"], spec.name
    if entry["decision"] == "pending":
        return (
            f"Approve or reject it within {spec.gate.approval_days} days: launch the job "
            f"`{name}_decide`, or `mlops approve {name} {version} --by NAME --reason WHY` "
            f"(`mlops reject` likewise)."
        )
    if entry["decision"] == "rejected" and (entry.get("verdict") or {}).get("outcome") in gate.OPEN:
        return (
            "Every blessing is there and the contest is undecided: a person may promote it all the "
            f"same, by the job `{name}_decide` or `mlops promote {name} {version} --by NAME "
            "--reason WHY`."
        )
    return "nothing"


def _shown(finding: Finding) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in finding.values.items())


def _list(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(found: list[Finding]) -> str:
    lines = ["| asset | check | subject | result | numbers |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {f.asset} | {f.check} | `{short(f.subject)}` | {f.status}: {f.said} | {_shown(f)} |"
        for f in found
    ]
    return "\n".join(lines)
