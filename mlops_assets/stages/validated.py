"""``validated``: the rows that keep the contract; the others go to quarantine with reasons."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from mlops_assets.lib.batch_profile import profile_table
from mlops_assets.lib.digests import digest_of, file_digest, short
from mlops_assets.lib.reading import MALFORMED, ROW
from mlops_assets.lib.spec import Limit, UseCase
from mlops_assets.lib.validation import REASONS, Validation, missing_columns, validate
from mlops_assets.resources import StorageRoot
from mlops_assets.stages import raw
from mlops_assets.stages.checks import Check, Checks, asset_key, column_schema, common

STAGE = "validated"
PREVIEW_ROWS = 20
Answer = tuple[str, bool, str]


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
            Check("quality", f"The quality score is at least {quality.score:g}.", blocking=True),
            Check("warnings", "Nothing is above a limit that warns.", gate=False),
        ),
    )


def input_digest(spec: UseCase, raw_digest: str) -> str:
    """What this stage works from: a raw batch and a contract."""
    return digest_of([raw_digest, spec.contract.digest])


def _limit(spec: UseCase, column: str) -> Limit:
    return spec.quality.missing_by_column.get(column, spec.quality.missing)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def judge(spec: UseCase, found: Validation) -> list[Answer]:
    """Hold a batch against the limits of the spec.

    Args:
        spec: The use case.
        found: The counts of the batch.

    Returns:
        Check, whether it passed, and what was found, for every check but ``schema``.
    """
    quality = spec.quality
    quarantined = _share(found.quarantined, found.rows)
    duplicates = _share(found.duplicates, found.rows)
    low, high = quality.positive_rate
    over = {
        column: f"{column} {share:.1%} (limit {_limit(spec, column).block:.0%})"
        for column, share in found.missing.items()
        if share > _limit(spec, column).block
    }
    reasons = "; ".join(
        f"{found.examples[kind]} ({count} {'row' if count == 1 else 'rows like it'})"
        for kind, count in found.reasons.most_common()
    )
    worst = max(found.missing, key=lambda column: found.missing[column])
    warnings = [
        f"{column} is missing in {share:.1%} of the rows"
        for column, share in found.missing.items()
        if share > _limit(spec, column).warn
    ]
    if quarantined > quality.quarantined.warn:
        warnings.append(f"{found.quarantined} of {found.rows} rows are in quarantine ({reasons})")
    if duplicates > quality.duplicates.warn:
        warnings.append(f"{found.duplicates} rows repeat an earlier one")
    return [
        (
            "ranges",
            found.valid > 0 and quarantined <= quality.quarantined.block,
            f"{found.quarantined} of {found.rows} rows ({quarantined:.1%}) are in quarantine"
            + (f": {reasons}" if reasons else ""),
        ),
        (
            "missing",
            not over,
            "over the limit: " + ", ".join(over.values())
            if over
            else f"most in {worst}: {found.missing[worst]:.1%}",
        ),
        (
            "duplicates",
            duplicates <= quality.duplicates.block,
            f"{found.duplicates} of {found.rows} rows ({duplicates:.1%}) repeat an earlier one",
        ),
        (
            "target_distribution",
            found.valid > 0 and low <= found.positive_rate <= high,
            f"{found.positives} of {found.valid} valid rows ({found.positive_rate:.1%}) "
            "are positive",
        ),
        ("quality", found.quality >= quality.score, f"quality score {found.quality:g} of 100"),
        ("warnings", not warnings, "; ".join(warnings) or "nothing to warn about"),
    ]


def build(spec: UseCase, batches: dg.PartitionsDefinition[str]) -> dg.Definitions:
    """The asset ``validated`` with its checks."""
    asked = checks(spec)

    @dg.asset(
        key=asked.asset,
        deps=[asset_key(spec, raw.STAGE)],
        partitions_def=batches,
        check_specs=asked.specs(),
        output_required=False,
        code_version=short(spec.contract.digest),
        description=f"Rows of {spec.name} that keep version {spec.contract.version} of its "
        "contract. The others are kept in quarantine, as they landed, with every reason.",
        **common(spec, STAGE, "polars", "parquet"),
    )
    def validated(
        context: dg.AssetExecutionContext, storage: StorageRoot
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        store, known, key = storage.open(), storage.batches(spec.name), context.partition_key
        landed = known.pointer(key, raw.STAGE)
        if landed is None:
            raise dg.Failure(f"batch {key} has no raw data: materialise {spec.name}/raw first")
        source = input_digest(spec, landed["digest"])
        pointer = {"input": source, "contract_version": spec.contract.version}

        missing = missing_columns(spec.contract, landed["columns"])
        if missing:
            known.point(key, STAGE, {**pointer, "digest": source, "file": None})
            said = f"no column {', '.join(missing)}; the file has {', '.join(landed['columns'])}"
            yield asked.result(context, "schema", False, source, said)
            names = [check.name for check in asked.checks if check.name != "schema"]
            yield from asked.unanswered(context, names, source, "columns are missing")
            return

        file = f"{spec.name}/validated/{key}-{short(source)}.parquet"
        quarantine = f"{spec.name}/quarantine/{key}-{short(source)}.parquet"
        with store.writing(file) as good, store.writing(quarantine) as bad:
            found = validate(
                spec.contract,
                store.verified(landed["file"], landed["digest"]),
                good,
                bad,
                batch=key.rsplit("-", 1)[-1],
                delimiter=landed["delimiter"],
            )
        digest = file_digest(store.path(file))
        known.point(
            key,
            STAGE,
            {
                **pointer,
                "digest": digest,
                "file": file,
                "quarantine": quarantine,
                "rows": found.valid,
                "quarantined": found.quarantined,
                "quality": found.quality,
            },
        )
        columns = [("row_id", "VARCHAR", "Batch and row.")]
        columns += [(c.name, c.duckdb_type, c.description) for c in spec.contract.every_column]
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(digest),
            metadata={
                "dagster/row_count": found.valid,
                "dagster/column_schema": column_schema(columns),
                "dagster/uri": str(store.path(file)),
                "quarantined": found.quarantined,
                "quarantine": dg.MetadataValue.path(str(store.path(quarantine))),
                "quarantined rows": dg.MetadataValue.md(_preview(store.path(quarantine))),
                "profile": dg.MetadataValue.md(profile_table(spec.contract, store.path(file))),
                "missing": dg.MetadataValue.json(found.missing),
                "quality score": found.quality,
                "positive rate": found.positive_rate,
                "digest": digest,
            },
        )
        extra = sorted(set(landed["columns"]) - {c.landed_name for c in spec.contract.every_column})
        said = f"{len(columns) - 1} columns" + (f"; not used: {', '.join(extra)}" if extra else "")
        yield asked.result(context, "schema", True, digest, said)
        for name, passed, said in judge(spec, found):
            yield asked.result(context, name, passed, digest, said)

    return dg.Definitions(assets=[validated])


def _preview(quarantine: Path) -> str:
    """The first quarantined rows as a Markdown table."""
    import polars as pl

    rows = pl.read_parquet(quarantine, n_rows=PREVIEW_ROWS, glob=False)
    if rows.is_empty():
        return "none"
    lines = ["| row | reasons | as landed |", "| --- | --- | --- |"]
    for row in rows.iter_rows(named=True):
        values = [v for name, v in row.items() if name not in (ROW, MALFORMED, REASONS)]
        landed = ", ".join("" if v is None else v for v in values)
        cells = (str(row[ROW]), row[REASONS], landed)
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines)
