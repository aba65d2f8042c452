"""``validated``: the rows that keep the contract; the others go to quarantine with reasons.

Both are made at once, so that a batch that is refused shows its quarantine, too.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.lib.digests import digest_of, file_digest, short
from mlops_assets.lib.personal_data.privacy import is_personal
from mlops_assets.lib.records.batches import Batches, Receipt
from mlops_assets.lib.records.history import withdrawn
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.validation.batch_limits import EARLIER_BATCHES, judge
from mlops_assets.lib.validation.batch_profile import profile_table
from mlops_assets.lib.validation.migration import landed_under, migration
from mlops_assets.lib.validation.validate import missing_columns, validate
from mlops_assets.resources import StorageRoot
from mlops_assets.stages import quarantine, raw
from mlops_assets.stages.checks import Check, Checks, asset_key, column_schema, common

STAGE = "validated"


def checks(spec: UseCase) -> Checks:
    """What is asked of a batch; the subject is the digest of its valid rows."""
    quality = spec.quality
    return Checks(
        asset_key(spec, STAGE),
        (
            Check("schema", "Every column of the contract is there.", blocking=True),
            Check(
                "ranges",
                f"At most {quality.quarantined.block:.0%} of the rows break the contract.",
                blocking=True,
            ),
            Check("missing", "No column lacks more values than its limit.", blocking=True),
            Check(
                "duplicates",
                f"At most {quality.duplicates.block:.0%} of the rows repeat an earlier one.",
                blocking=True,
            ),
            Check(
                "target_distribution",
                "The share of positives lies within {:.0%} and {:.0%}.".format(
                    *quality.positive_rate
                ),
                blocking=True,
            ),
            Check(
                "categories",
                f"At most {quality.unknown_categories.block:.0%} of the values of a category are "
                "unknown to the contract.",
                blocking=True,
            ),
            Check(
                "row_count",
                f"At most {quality.row_count.block:g} times more or fewer rows than the median of "
                f"the earlier accepted batches, once there are {EARLIER_BATCHES}.",
                blocking=True,
            ),
            *_checks_of_identifiers(spec),
            Check("quality", f"The quality score is at least {quality.score:g}.", blocking=True),
            Check("warnings", "Nothing is above a limit that warns.", gate=False),
        ),
    )


def valid_rows(spec: UseCase, batches: Batches, key: str) -> tuple[dict[str, Any], Path]:
    """The pointer to the valid rows of a batch, and the file, whose digest is checked.

    Raises:
        dagster.Failure: If there are none.
    """
    rows = batches.pointer(key, STAGE)
    if rows is None or rows["file"] is None:
        raise dg.Failure(f"batch {key} has no valid rows: materialise {spec.name}/{STAGE}")
    return rows, batches.storage.verified(rows["file"], rows["digest"])


def _checks_of_identifiers(spec: UseCase) -> Iterator[Check]:
    quality, contract = spec.quality, spec.contract
    if contract.key:
        yield Check(
            "key",
            f"At most {quality.repeated_keys.block:.0%} of the rows repeat the key "
            f"({', '.join(contract.key)}) of an earlier one.",
            blocking=True,
        )
    if contract.event_time is not None:
        days = quality.freshness_days
        oldest = f"at most {days:g} days old" if days else "of any age"
        yield Check(
            "freshness",
            f"The newest {contract.event_time} is {oldest} when the batch lands, and none is "
            "later than a day after.",
            blocking=True,
        )


def input_digest(spec: UseCase, raw_digest: str) -> str:
    """What this stage works from: a raw batch and a contract."""
    return digest_of([raw_digest, spec.contract.digest])


def _earlier_rows(spec: UseCase, known: Batches, receipt: Receipt) -> list[int]:
    """The rows of each accepted batch that landed before; a refused one has no features."""
    out = withdrawn(Ledger(known.storage, spec.name).entries())
    receipts = known.receipts()
    rows = []
    for earlier in receipts[: [r.key for r in receipts].index(receipt.key)]:
        pointer = known.pointer(earlier.key, STAGE) or {}
        features = known.pointer(earlier.key, "features") or {}
        if earlier.key not in out and pointer.get("file") and features.get("file"):
            rows.append(pointer["rows"] + pointer["quarantined"])
    return rows


def build(spec: UseCase, batches: dg.PartitionsDefinition[str]) -> dg.Definitions:
    """The assets ``validated`` and ``quarantine`` with their checks."""
    asked, asked_aside = checks(spec), quarantine.checks(spec)

    @dg.multi_asset(
        name="__".join(asked.asset.path),
        specs=[
            dg.AssetSpec(
                asked.asset,
                deps=[asset_key(spec, raw.STAGE)],
                skippable=True,
                code_version=short(spec.contract.digest),
                description=f"Rows of {spec.name} that keep version {spec.contract.version} of "
                "its contract. The others are kept in quarantine with every reason.",
                **common(spec, STAGE, "polars", "parquet"),
            ),
            quarantine.asset_spec(spec, after=asked.asset),
        ],
        partitions_def=batches,
        check_specs=[*asked.specs(), *asked_aside.specs()],
    )
    def validated(
        context: dg.AssetExecutionContext, storage: StorageRoot
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        store, known, key = storage.open(), storage.batches(spec.name), context.partition_key
        landed, receipt = known.pointer(key, raw.STAGE), known.receipt(key)
        if landed is None or receipt is None:
            raise dg.Failure(f"batch {key} has no raw data: materialise {spec.name}/raw first")
        source = input_digest(spec, landed["digest"])
        pointer = {"input": source, "contract_version": spec.contract.version}

        if "contract_version" not in landed:
            # Of before it was recorded: said once, since this very validation moves the only trace.
            landed = {**landed, "contract_version": landed_under(known, key, spec.contract)}
            known.point(key, raw.STAGE, landed)
        migrated = migration(spec.contract, landed)
        missing = missing_columns(spec.contract, migrated.columns)
        if migrated.refused or missing:
            known.point(key, STAGE, {**pointer, "digest": source, "file": None})
            said = migrated.refused or (
                f"no column {', '.join(missing)}; the file has {', '.join(landed['columns'])}"
            )
            if missing and is_personal(spec.contract):
                said += (
                    ". With personal data in the contract only the columns that it names are kept: "
                    "if it names more since the file was read, land the file again"
                )
            yield asked.result(context, "schema", False, source, said)
            names = [check.name for check in asked.checks if check.name != "schema"]
            why = "the batch is refused" if migrated.refused else "columns are missing"
            yield from asked.unanswered(context, names, source, why)
            names = [check.name for check in asked_aside.checks]
            yield from asked_aside.unanswered(context, names, source, why)
            return

        file = f"{spec.name}/validated/{key}-{short(source)}.parquet"
        aside = f"{spec.name}/quarantine/{key}-{short(source)}.parquet"
        rows = store.verified(landed["file"], landed["digest"])
        with (
            store.writing(file) as good,
            store.writing(aside) as bad,
            migrated.applied(rows) as present,
        ):
            found = validate(
                spec.contract,
                present,
                good,
                bad,
                batch=key.rsplit("-", 1)[-1],
                delimiter=landed["delimiter"],
            )
            digest = file_digest(good)
        known.point(
            key,
            STAGE,
            {
                **pointer,
                "digest": digest,
                "file": file,
                "quarantine": aside,
                "rows": found.valid,
                "quarantined": found.quarantined,
                "quality": found.quality,
            },
        )
        columns = [("row_id", "VARCHAR", "Batch and row.")]
        columns += [(c.name, c.duckdb_type, c.description) for c in spec.contract.every_column]
        yield dg.MaterializeResult(
            asset_key=asked.asset,
            data_version=dg.DataVersion(digest),
            metadata={
                "dagster/row_count": found.valid,
                "dagster/column_schema": column_schema(columns),
                "dagster/uri": store.uri(file),
                "quarantined": found.quarantined,
                "quarantine": dg.MetadataValue.path(store.uri(aside)),
                "profile": dg.MetadataValue.md(profile_table(spec.contract, store.local(file))),
                "missing": dg.MetadataValue.json(found.missing),
                "quality score": found.quality,
                "positive rate": found.positive_rate,
                "digest": digest,
            },
        )
        yield quarantine.result(spec, found, store.local(aside))
        said = f"{found.quarantined} of {found.rows} rows are in quarantine"
        subject = file_digest(store.local(aside))
        yield asked_aside.result(context, "empty", not found.quarantined, subject, said)
        extra = sorted(set(migrated.columns) - {c.landed_name for c in spec.contract.every_column})
        said = f"{len(columns) - 1} columns" + (f"; not used: {', '.join(extra)}" if extra else "")
        said += f"; {migrated.said}" if migrated.said else ""
        yield asked.result(context, "schema", True, digest, said)
        landed_at = datetime.fromisoformat(receipt.landed_at).astimezone(UTC).replace(tzinfo=None)
        for name, passed, said in judge(
            spec, found, _earlier_rows(spec, known, receipt), landed_at
        ):
            yield asked.result(context, name, passed, digest, said)

    return dg.Definitions(assets=[validated])
