"""``quarantine``: the rows of a batch that break the contract, for a person to read.

It is made in one step with ``validated`` and fails nothing.
"""

from pathlib import Path

import dagster as dg

from mlops_assets.lib.digests import file_digest
from mlops_assets.lib.personal_data.privacy import is_personal
from mlops_assets.lib.reading.raw_table import MALFORMED, REASONS, ROW
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.validation.result import Validation
from mlops_assets.stages.checks import Check, Checks, asset_key, common

STAGE = "quarantine"
SHOWN_ROWS = 50
SHOWN_CHARACTERS = 80


def checks(spec: UseCase) -> Checks:
    """What is asked of the quarantine; the subject is the digest of its file."""
    return Checks(asset_key(spec, STAGE), (Check("empty", "No row is in quarantine.", gate=False),))


def asset_spec(spec: UseCase, after: dg.AssetKey) -> dg.AssetSpec:
    """The asset, as the step that makes it declares it."""
    return dg.AssetSpec(
        asset_key(spec, STAGE),
        deps=[after],
        skippable=True,
        description=f"Rows of {spec.name} that break its contract, as they landed, with every "
        "reason.",
        **common(spec, STAGE, "polars", "parquet"),
    )


def result(spec: UseCase, found: Validation, file: Path) -> dg.MaterializeResult[None]:
    """What a person sees of the quarantine of a batch.

    Args:
        spec: The use case.
        found: The counts of the batch.
        file: Parquet of the quarantined rows.
    """
    digest = file_digest(file)
    return dg.MaterializeResult(
        asset_key=asset_key(spec, STAGE),
        data_version=dg.DataVersion(digest),
        metadata={
            "dagster/row_count": found.quarantined,
            "dagster/uri": str(file),
            "reasons": dg.MetadataValue.md(_reasons(found)),
            "rows": dg.MetadataValue.md(_rows(file)),
            "what to do": dg.MetadataValue.md(_what_to_do(spec, found)),
            "file": dg.MetadataValue.path(str(file)),
            "digest": digest,
        },
    )


def _reasons(found: Validation) -> str:
    if not found.reasons:
        return "none"
    lines = ["| what | rows | the first of them |", "| --- | --- | --- |"]
    lines += [
        f"| {_cell(kind)} | {count} | {_cell(found.examples[kind])} |"
        for kind, count in found.reasons.most_common()
    ]
    return "\n".join(lines)


def _rows(file: Path) -> str:
    """The first rows, with a column for each that landed."""
    import polars as pl

    rows = pl.read_parquet(file, n_rows=SHOWN_ROWS, glob=False)
    if rows.is_empty():
        return "none"
    columns = [name for name in rows.columns if name not in (ROW, MALFORMED, REASONS)]
    lines = [
        "| " + " | ".join(["row", "reasons", *map(_cell, columns)]) + " |",
        "|" + " --- |" * (2 + len(columns)),
    ]
    for row in rows.iter_rows(named=True):
        cells = [str(row[ROW]), row[REASONS], *(row[name] or "" for name in columns)]
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join(lines)


def _what_to_do(spec: UseCase, found: Validation) -> str:
    if not found.quarantined:
        return "nothing"
    gone = " although the landed file is gone" if is_personal(spec.contract) else ""
    return (
        "- The rows are wrong: mend them where they come from and land them as a new file.\n"
        f"- The contract is wrong: correct it in the `defs.yaml` of {spec.name}. The landing "
        f"sensor validates every batch anew with it, from the raw Parquet{gone}, and rows that "
        "keep it now come back by themselves.\n"
        f"- All of the batch is wrong: `mlops withdraw {spec.name} <batch>`."
    )


def _cell(text: str) -> str:
    """A text that cannot break the table."""
    return " ".join(text.split())[:SHOWN_CHARACTERS].replace("|", "\\|")
