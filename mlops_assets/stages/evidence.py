"""What the checks have found, looked up by subject in Dagster's own records.

A result counts only for the digest that it judged. No result, one that raised, one that is still
planned and a warning in place of a pass are all not a pass.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal

import dagster as dg

from mlops_assets.lib.features.dbt_project import FeatureModel
from mlops_assets.lib.records.batches import Batches, Receipt
from mlops_assets.lib.records.history import withdrawn
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.stages import features, raw, validated
from mlops_assets.stages.checks import SUBJECT, Checks

PAGE = 200
State = Literal["accepted", "refused", "outstanding", "withdrawn"]


@dataclass(frozen=True)
class Finding:
    """The newest result of one check about one subject.

    Attributes:
        status: ``missing`` where no result about the subject exists.
        said: What the check found.
        run: The Dagster run that asked.
        values: The numbers that it found and held them against, by name.
    """

    asset: str
    check: str
    subject: str
    status: Literal["passed", "failed", "missing"]
    said: str = ""
    run: str = ""
    values: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))


def findings(
    instance: dg.DagsterInstance, wanted: Iterable[tuple[dg.AssetCheckKey, str]]
) -> list[Finding]:
    """Look up the newest result of each check about each subject.

    Args:
        instance: Dagster's records.
        wanted: Check and subject.

    Returns:
        One finding for each, in the order asked for.
    """
    wanted = list(wanted)
    subjects: dict[dg.AssetCheckKey, set[str]] = {}
    for key, subject in wanted:
        subjects.setdefault(key, set()).add(subject)
    found: dict[tuple[dg.AssetCheckKey, str], Finding] = {}
    for key, left in subjects.items():
        found |= {(key, finding.subject): finding for finding in _newest(instance, key, left)}
    return [
        found.get(
            (key, subject),
            Finding(key.asset_key.to_user_string(), key.name, subject, "missing"),
        )
        for key, subject in wanted
    ]


def recorded(
    entry: Mapping[str, Any], wanted: Iterable[tuple[dg.AssetCheckKey, str]]
) -> list[Finding]:
    """What an entry of a ledger keeps of checks, in the order asked for.

    Args:
        entry: A decision of the gate, or of a person in its place.
        wanted: Check and subject.
    """
    kept = {(c["asset"], c["check"], c["subject"]): c for c in entry["checks"]}
    found = []
    for key, subject in wanted:
        names = (key.asset_key.to_user_string(), key.name, subject)
        check = kept.get(names, {"status": "missing"})
        rest = {name: check[name] for name in ("said", "run", "values") if name in check}
        found.append(Finding(*names, check["status"], **rest))
    return found


def _newest(
    instance: dg.DagsterInstance, key: dg.AssetCheckKey, subjects: set[str]
) -> list[Finding]:
    found: dict[str, Finding] = {}
    cursor = None
    while True:
        records = instance.event_log_storage.get_asset_check_execution_history(
            key, limit=PAGE, cursor=cursor
        )
        for record in records:
            evaluation = record.evaluation
            # A check that raised or is at work has only been planned: it is about no subject.
            if not isinstance(evaluation, dg.AssetCheckEvaluation):
                continue
            if SUBJECT not in evaluation.metadata:
                continue
            subject = str(evaluation.metadata[SUBJECT].value)
            if subject in subjects and subject not in found:
                found[subject] = Finding(
                    key.asset_key.to_user_string(),
                    key.name,
                    subject,
                    "passed" if evaluation.passed else "failed",
                    evaluation.description or "",
                    record.run_id,
                    _numbers(evaluation.metadata),
                )
        if len(records) < PAGE or len(found) == len(subjects):
            return list(found.values())
        cursor = records[-1].id


def _numbers(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, float]:
    """The numbers of a result; what is not finite is left to what the check said."""
    values = {name: each.value for name, each in metadata.items()}
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    }


def gating(checks: Checks, subject: str) -> list[tuple[dg.AssetCheckKey, str]]:
    """The checks of an asset that a version needs, about one subject."""
    return [
        (dg.AssetCheckKey(checks.asset, check.name), subject)
        for check in checks.checks
        if check.gate
    ]


@dataclass(frozen=True)
class Batch:
    """How far a batch has come.

    Attributes:
        state: ``accepted`` when every check has passed for the current contract and SQL;
            ``refused`` when one has failed; ``outstanding`` when one has not been asked yet;
            ``withdrawn`` when the ledger says so, whatever the checks say.
        pointers: Current object by stage, as far as it goes.
        findings: What the checks said.
    """

    receipt: Receipt
    state: State
    pointers: dict[str, dict[str, Any]]
    findings: list[Finding]

    @property
    def failed(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.status == "failed"]

    def lineage(self) -> dict[str, str]:
        """The digests of an accepted batch, as they go into a manifest."""
        return {
            "key": self.receipt.key,
            "receipt": self.receipt.digest,
            **{stage: pointer["digest"] for stage, pointer in self.pointers.items()},
        }


def look_at_batches(
    instance: dg.DagsterInstance, batches: Batches, spec: UseCase, model: FeatureModel
) -> list[Batch]:
    """Say of every landed batch how far it has come, first landed first."""
    pending = [(receipt, *_wanted(batches, receipt, spec, model)) for receipt in batches.receipts()]
    out = withdrawn(Ledger(batches.storage, spec.name).entries())
    flat = findings(instance, [want for *_, wanted in pending for want in wanted])
    looked, position = [], 0
    for receipt, pointers, wanted in pending:
        mine = flat[position : position + len(wanted)]
        position += len(wanted)
        state = "withdrawn" if receipt.key in out else _state(pointers, mine)
        looked.append(Batch(receipt, state, pointers, mine))
    return looked


def batch_checks(
    spec: UseCase, model: FeatureModel, lineage: dict[str, str]
) -> list[tuple[dg.AssetCheckKey, str]]:
    """The checks that a batch in a training set needs, from its digests in a manifest."""
    return [
        *gating(raw.checks(spec), lineage["receipt"]),
        *gating(validated.checks(spec), lineage[validated.STAGE]),
        *gating(features.checks(spec, model), lineage[features.STAGE]),
    ]


def _wanted(
    batches: Batches, receipt: Receipt, spec: UseCase, model: FeatureModel
) -> tuple[dict[str, dict[str, Any]], list[tuple[dg.AssetCheckKey, str]]]:
    """The pointers that are current, and the checks that they need."""
    pointers: dict[str, dict[str, Any]] = {}
    wanted = gating(raw.checks(spec), receipt.digest)
    landed = batches.pointer(receipt.key, raw.STAGE)
    if landed is None or raw.is_outdated(spec, batches, receipt, landed):
        return pointers, wanted
    pointers[raw.STAGE] = landed
    rows = batches.pointer(receipt.key, validated.STAGE)
    if rows is None or rows["input"] != validated.input_digest(spec, landed["digest"]):
        return pointers, wanted
    pointers[validated.STAGE] = rows
    wanted += gating(validated.checks(spec), rows["digest"])
    made = batches.pointer(receipt.key, features.STAGE)
    if made is None or made["input"] != features.input_digest(model, rows["digest"]):
        return pointers, wanted
    pointers[features.STAGE] = made
    wanted += gating(features.checks(spec, model), made["digest"])
    return pointers, wanted


def _state(pointers: dict[str, dict[str, Any]], found: Sequence[Finding]) -> State:
    if any(finding.status == "failed" for finding in found):
        return "refused"
    complete = features.STAGE in pointers and all(f.status == "passed" for f in found)
    return "accepted" if complete else "outstanding"
