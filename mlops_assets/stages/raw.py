"""``raw``: an immutable, content-addressed Parquet of what landed, as text."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from mlops_assets.lib.digests import file_digest, short
from mlops_assets.lib.reading import UnreadableError, read_csv
from mlops_assets.lib.spec import UseCase
from mlops_assets.resources import StorageRoot
from mlops_assets.stages.checks import Check, Checks, asset_key, column_schema, common

STAGE = "raw"


def checks(spec: UseCase) -> Checks:
    """What is asked of a landed file; the subject is the digest of its name and content."""
    return Checks(
        asset_key(spec, STAGE),
        (
            Check("readable", "The file is text with a header and can be read.", blocking=True),
            Check("not_empty", "There is at least one row under the header.", blocking=True),
            Check("not_a_duplicate", "No earlier batch has the same content.", blocking=True),
        ),
    )


def build(spec: UseCase, batches: dg.PartitionsDefinition[str]) -> dg.Definitions:
    """The asset ``raw`` with its checks."""
    asked = checks(spec)

    @dg.asset(
        key=asked.asset,
        partitions_def=batches,
        check_specs=asked.specs(),
        output_required=False,
        description=f"What landed for {spec.name}, unchanged: every value is the text of the file.",
        **common(spec, STAGE, "file", "parquet"),
    )
    def raw(
        context: dg.AssetExecutionContext, storage: StorageRoot
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        store, known = storage.open(), storage.batches(spec.name)
        receipt = known.receipt(context.partition_key)
        if receipt is None:
            raise dg.Failure(f"no batch {context.partition_key} has landed for {spec.name}")
        path = Path(receipt.path)
        where = {"file": dg.MetadataValue.path(receipt.path)}

        partial_key = f"{spec.name}/raw/{short(receipt.digest)}.parquet"
        try:
            if not path.is_file() or file_digest(path) != receipt.content:
                raise UnreadableError(f"{path} is gone or has changed since it landed")
            with store.writing(partial_key) as partial:
                dialect, rows = read_csv(path, partial)
        except UnreadableError as error:
            yield asked.result(context, "readable", False, receipt.digest, str(error), where)
            names = ("not_empty", "not_a_duplicate")
            yield from asked.unanswered(context, names, receipt.digest, "the file is unreadable")
            return

        digest = file_digest(store.path(partial_key))
        known.point(
            receipt.key,
            STAGE,
            {
                "digest": digest,
                "file": partial_key,
                "rows": rows,
                "columns": dialect.columns,
                "delimiter": dialect.delimiter,
                "encoding": dialect.encoding,
            },
        )
        if rows:
            yield dg.MaterializeResult(
                data_version=dg.DataVersion(digest),
                metadata={
                    "dagster/row_count": rows,
                    "dagster/column_schema": column_schema(
                        (c, "text", "") for c in dialect.columns
                    ),
                    "dagster/uri": str(store.path(partial_key)),
                    "encoding": dialect.encoding,
                    "delimiter": dialect.delimiter,
                    "digest": digest,
                    **where,
                    "name": receipt.name,
                    "bytes": receipt.size,
                    "landed at": receipt.landed_at,
                },
            )
        said = f"{receipt.name}: {rows} rows, {len(dialect.columns)} columns, {dialect.encoding}"
        yield asked.result(context, "readable", True, receipt.digest, said, where)
        said = f"{rows} rows" if rows else f"{receipt.name} has a header and no rows"
        yield asked.result(context, "not_empty", rows > 0, receipt.digest, said)
        # A batch that could not be read, because its file was gone, has used nothing up.
        earlier = [
            r
            for r in known.receipts()
            if r.content == receipt.content and known.pointer(r.key, STAGE) is not None
        ]
        first = earlier[0]
        said = (
            "the content is new"
            if first.key == receipt.key
            else f"the content is that of batch {first.key} ({first.name}, {first.landed_at}); "
            "it is not used twice"
        )
        yield asked.result(
            context, "not_a_duplicate", first.key == receipt.key, receipt.digest, said
        )

    return dg.Definitions(assets=[raw])
