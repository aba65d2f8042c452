"""``raw``: an immutable, content-addressed Parquet of what landed, as text."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.lib.digests import digest_of, file_digest, short
from mlops_assets.lib.personal_data import erasure, key_proof
from mlops_assets.lib.personal_data.privacy import Privacy, privacy_digest
from mlops_assets.lib.reading.landed import UnreadableError
from mlops_assets.lib.reading.table import read_table, restrict
from mlops_assets.lib.records.batches import Batches, Receipt
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.validation.migration import landed_under
from mlops_assets.resources import StorageRoot
from mlops_assets.stages import sources
from mlops_assets.stages.checks import Check, Checks, asset_key, column_schema, common

STAGE = "raw"


def checks(spec: UseCase) -> Checks:
    """What is asked of a landed file; the subject is the digest of its name and content."""
    return Checks(
        asset_key(spec, STAGE),
        (
            Check(
                "readable", "The file is a table of a known format and can be read.", blocking=True
            ),
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
        deps=[asset_key(spec, sources.STAGE, source.name) for source in spec.sources],
        check_specs=asked.specs(),
        output_required=False,
        description=f"What landed for {spec.name}, unchanged: every value is the text of the file. "
        "Personal data are dropped or hashed as the contract says; rows of whoever was erased are "
        "left out.",
        **common(spec, STAGE, "file", "parquet"),
    )
    def raw(
        context: dg.AssetExecutionContext, storage: StorageRoot
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        store, known = storage.open(), storage.batches(spec.name)
        # A key that is missing, or another one, is known before anything is read.
        erased = erasure.everybody(store, spec.name, spec.contract)
        privacy = Privacy.of(spec.contract, erased)
        if privacy.hashed:
            key_proof.prove(store, spec.name, privacy.key)
        receipt = known.receipt(context.partition_key)
        if receipt is None:
            raise dg.Failure(f"no batch {context.partition_key} has landed for {spec.name}")
        where = {"file": dg.MetadataValue.path(receipt.path)}
        try:
            pointer, notes = _read_or_kept(spec, known, receipt, privacy)
        except UnreadableError as error:
            yield asked.result(context, "readable", False, receipt.digest, str(error), where)
            names = ("not_empty", "not_a_duplicate")
            yield from asked.unanswered(context, names, receipt.digest, "the file is unreadable")
            return
        for note in notes:
            context.log.info(note)
        rows, columns, digest = pointer["rows"], pointer["columns"], pointer["digest"]
        if rows:
            yield dg.MaterializeResult(
                data_version=dg.DataVersion(digest),
                metadata={
                    "dagster/row_count": rows,
                    "dagster/column_schema": column_schema((c, "text", "") for c in columns),
                    "dagster/uri": store.uri(pointer["file"]),
                    "format": pointer["format"],
                    "encoding": pointer["encoding"],
                    "delimiter": pointer["delimiter"],
                    "digest": digest,
                    **where,
                    "name": receipt.name,
                    "bytes": receipt.size,
                    "landed at": receipt.landed_at,
                    **({"notes": dg.MetadataValue.md("\n".join(notes))} if notes else {}),
                },
            )
        text = f"{len(columns)} columns, {pointer['encoding'] or pointer['format']}"
        said = "; ".join([f"{receipt.name}: {rows} rows, {text}", *notes])
        yield asked.result(context, "readable", True, receipt.digest, said, where)
        said = f"{rows} rows" if rows else f"{receipt.name} has a header and no rows"
        if pointer.get("erased"):
            said += f"; {pointer['erased']} of erased entities are left out"
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


def _read_or_kept(
    spec: UseCase, known: Batches, receipt: Receipt, privacy: Privacy
) -> tuple[dict[str, Any], list[str]]:
    """Read the landed file, or take what was read of it before it went.

    A landed file with personal data is removed once its Parquet is pointed to. A kill before that
    leaves the file, which is then read and removed again; a kill after it leaves the pointer.

    Returns:
        The pointer, and what a person should know.

    Raises:
        UnreadableError: If the file is no table, or is gone and was never read.
    """
    path, before = known.landed(receipt), known.pointer(receipt.key, STAGE)
    if path is not None:
        return _read(spec, known, receipt, path, privacy)
    if before is None:
        raise UnreadableError(f"{receipt.path} is gone or has changed since it landed")
    return _kept(spec, known, receipt, before, privacy)


def _policy(spec: UseCase, known: Batches) -> str | None:
    """Digest of what decides which values are written, or None where every one is."""
    policy = privacy_digest(spec.contract)
    if not any(column.pii == "hash" for column in spec.contract.columns):
        return policy
    return digest_of([policy, key_proof.proof(known.storage, spec.name)])


def _file(spec: UseCase, known: Batches, receipt: Receipt) -> str:
    """The key of a batch's Parquet: another one where other values are written."""
    digests = (receipt.digest, _policy(spec, known))
    return f"{spec.name}/raw/{'-'.join(short(digest) for digest in digests if digest)}.parquet"


def _read(
    spec: UseCase, known: Batches, receipt: Receipt, path: Path, privacy: Privacy
) -> tuple[dict[str, Any], list[str]]:
    store, file = known.storage, _file(spec, known, receipt)
    with store.writing(file) as partial:
        table = read_table(path, partial, spec.reading, privacy)
        digest = file_digest(partial)
    pointer = {
        "digest": digest,
        "file": file,
        "rows": table.rows,
        "erased": table.erased,
        "rewritten": (known.pointer(receipt.key, STAGE) or {}).get("rewritten", 0),
        "columns": table.columns,
        "hashed": table.hashed,
        "format": " in ".join(filter(None, (table.format, table.compression))),
        "delimiter": table.delimiter,
        "encoding": table.encoding,
        "privacy": _policy(spec, known),
        "contract_version": landed_under(known, receipt.key, spec.contract),
    }
    known.point(receipt.key, STAGE, pointer)
    notes = [
        f"{what}: {', '.join(names)}"
        for what, names in (("dropped", table.dropped), ("hashed", table.hashed))
        if names
    ]
    if table.unknown:
        notes.append(
            f"{table.unknown} columns that the contract does not know are left out, since they "
            "could be personal data"
        )
    if forget_landed(spec, known, receipt):
        why = "rows of erased entities" if table.erased else "personal data"
        notes.append(f"the landed file has {why} and was removed; its receipt stays")
    return pointer, notes


def _kept(
    spec: UseCase, known: Batches, receipt: Receipt, before: dict[str, Any], privacy: Privacy
) -> tuple[dict[str, Any], list[str]]:
    """What was read before, less what the contract has named personal data since then."""
    store = known.storage
    raw = store.verified(before["file"], before["digest"])
    notes = ["the landed file is gone; what was read of it before is used again"]
    clear = [c for c in before["columns"] if c not in before.get("hashed", [])]
    now_hashed = privacy.hashed & set(clear)
    if not now_hashed and all(map(privacy.keeps, before["columns"])):
        return before, notes
    file = _file(spec, known, receipt)
    with store.writing(file) as partial:
        less = restrict(raw, partial, replace(privacy, hashed=now_hashed))
        digest = file_digest(partial)
    pointer = {
        **before,
        "digest": digest,
        "file": file,
        "rows": less.rows,
        "erased": before.get("erased", 0) + less.erased,
        "columns": less.kept,
        "hashed": sorted(privacy.hashed & set(less.kept)),
    }
    known.point(receipt.key, STAGE, pointer)
    return pointer, [*notes, "less what the contract has named personal data since then"]


def is_outdated(spec: UseCase, known: Batches, receipt: Receipt, pointer: dict[str, Any]) -> bool:
    """Whether a landed file is there to be read anew, since other values are written now.

    A file that was removed has come back when the contract names a column that was not kept, or
    when its values are to be hashed with another key.
    """
    policy = _policy(spec, known)
    return pointer.get("privacy") != policy and known.is_there(receipt)


def forget_landed(spec: UseCase, known: Batches, receipt: Receipt) -> bool:
    """Remove a landed file that holds what may not be kept, if it was read as the rules say now.

    That is any file of a contract with personal data, and one with rows of an erased entity.

    Returns:
        Whether it was there, in the landing place and unchanged, and is gone now.
    """
    policy, pointer = _policy(spec, known), known.pointer(receipt.key, STAGE)
    if pointer is None or pointer.get("privacy") != policy:
        return False
    somebody = pointer.get("erased") or pointer.get("rewritten")
    return bool(policy or somebody) and known.forget(receipt)
