"""``mlops lineage``: from an answer back to the files that its model has learned from.

The records are read as they lie in the storage; nothing is written. The id of a prediction tells
nothing of its time, so the prediction log is looked through from the newest day backwards, one
column of a file, until a day has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.digests import short
from mlops_assets.lib.records import prediction_log
from mlops_assets.lib.records.batches import Batches
from mlops_assets.lib.records.history import adoption, withdrawn
from mlops_assets.lib.records.ledger import BATCH_DECISIONS, Ledger
from mlops_assets.lib.storage.root import Storage
from mlops_assets.operations.versions import bundle_of, numbers
from serving.bundle.manifest import MANIFEST, BundleError, content_digest

if TYPE_CHECKING:
    from datetime import date

# What is shown of an answer; its inputs are not: they may be about a person.
ANSWER = (
    "prediction_id", "time", "environment", "role", "version", "digest", "request_id",
    "probability", "threshold", "class",
)  # fmt: skip
# A store answers several requests in the time of one.
THREADS = 8
METRIC = "roc_auc"


class UnknownPredictionError(ValueError):
    """No answer has this id; the message says where it was looked for."""


def of_prediction(store: Storage, use_case: str, prediction: str) -> dict[str, Any]:
    """Where an answer comes from.

    Args:
        store: The storage root.
        use_case: Whose.
        prediction: The id that the answer had.

    Returns:
        ``answers`` (the answer, and the scores of shadows under the same id) and what
        ``of_version`` gives of the version that answered; JSON-compatible.

    Raises:
        UnknownPredictionError: If the log has no such id.
        serving.bundle.manifest.BundleError: See ``of_version``.
    """
    answers = _answers(store, use_case, prediction)
    # A shadow's score was given to nobody.
    answered = min(answers, key=lambda each: each["role"] == "shadow")
    return {"answers": answers, **_of_bundle(store, use_case, answered["digest"])}


def of_version(store: Storage, use_case: str, version: str) -> dict[str, Any]:
    """What a version is made of, down to the landed files, and what was decided about it.

    Args:
        store: The storage root.
        use_case: Whose.
        version: Its number, or the start of its bundle's digest.

    Returns:
        ``version``, ``bundle``, ``algorithm``, ``runs``, ``evaluation``, ``training_set``,
        ``batches``, ``origin`` (of a version that was adopted: the environment and the root where
        its batches landed, and its version there) and ``decisions``; JSON-compatible.

    Raises:
        mlops_assets.operations.versions.UnknownVersionError: If none or several are meant.
        serving.bundle.manifest.BundleError: If its manifest is gone or is not what the digest
            names.
    """
    return _of_bundle(store, use_case, bundle_of(store, use_case, version))


def _answers(store: Storage, use_case: str, prediction: str) -> list[dict[str, Any]]:
    files = prediction_log.files(store, use_case, "served")
    by_day: dict[date, list[str]] = {}
    for key, day in files.items():
        by_day.setdefault(day, []).append(key)

    def look(key: str) -> list[dict[str, Any]]:
        return _in_file(store, key, prediction)

    days = sorted(by_day, reverse=True)
    with ThreadPoolExecutor(THREADS) as pool:
        for day in days:
            found = [row for rows in pool.map(look, sorted(by_day[day])) for row in rows]
            if found:
                return found
    where = f"{len(files)} files of {days[-1]} to {days[0]}" if days else "which is empty"
    raise UnknownPredictionError(
        f"{use_case} has no prediction {prediction!r} in its log ({where}); what was answered in "
        "the last minute may still be on its way, and what is older than retention.served is gone"
    )


def _in_file(store: Storage, key: str, prediction: str) -> list[dict[str, Any]]:
    """The rows of a file with an id."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with store.open(key) as content, pq.ParquetFile(content) as file:
        for group in range(file.num_row_groups):
            ids = file.read_row_group(group, columns=["prediction_id"])["prediction_id"]
            if pc.any(pc.equal(ids, prediction)).as_py():
                rows = file.read_row_group(group, columns=list(ANSWER))
                found = rows.filter(pc.equal(rows["prediction_id"], prediction)).to_pylist()
                return [{**row, "time": row["time"].isoformat()} for row in found]
    return []


def _of_bundle(store: Storage, use_case: str, digest: str) -> dict[str, Any]:
    manifest = store.read_json(f"{use_case}/bundles/{digest}/{MANIFEST}")
    if manifest is None:
        raise BundleError(
            f"bundle {short(digest)} of {use_case} is gone: `mlops prune` keeps what serves, what "
            "waits and some champions of before"
        )
    if content_digest(manifest) != digest:
        raise BundleError(f"the manifest of bundle {short(digest)} is not what its digest names")
    lineage, provenance = manifest["lineage"], manifest["provenance"]
    evaluation = store.read_json(f"{use_case}/evaluations/{lineage['evaluation']}.json") or {}
    entries = Ledger(store, use_case).entries()
    return {
        "use_case": use_case,
        "version": numbers(store, use_case).get(digest),
        "bundle": digest,
        "algorithm": lineage["algorithm"],
        "runs": {
            "mlflow": provenance.get("mlflow_run_id"),
            "dagster": provenance.get("dagster_run_id"),
        },
        "evaluation": {
            "digest": lineage["evaluation"],
            METRIC: {
                side: evaluation[side][METRIC] for side in ("out_of_fold", "test") if evaluation
            },
        },
        "training_set": {
            "digest": lineage["training_set"],
            "rows": _rows(store, use_case, lineage["training_set"]),
        },
        "batches": _batches(store, use_case, lineage["batches"], entries),
        "origin": (adoption(entries, digest) or {}).get("origin"),
        "decisions": [
            {key: e.get(key) for key in ("sequence", "time", "decision", "actor", "reasons")}
            for e in entries
            if e.get("bundle") == digest
        ],
    }


def _rows(store: Storage, use_case: str, digest: str) -> int | None:
    """Rows of a training set; None where it was pruned."""
    import pyarrow.parquet as pq

    try:
        with (
            store.open(f"{use_case}/training_sets/{digest}/rows.parquet") as content,
            pq.ParquetFile(content) as file,
        ):
            return int(file.metadata.num_rows)
    except FileNotFoundError:
        return None


def _batches(
    store: Storage,
    use_case: str,
    lineage: Sequence[Mapping[str, str]],
    entries: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """The batches of a training set with the files that they landed as."""
    batches, out = Batches(store, use_case), withdrawn(entries)
    found = []
    for batch in lineage:
        receipt = batches.receipt(batch["key"])
        landed = receipt and {
            "name": receipt.name,
            "path": receipt.path,
            "digest": receipt.content,
            "bytes": receipt.size,
            "landed_at": receipt.landed_at,
            "there": batches.is_there(receipt),
        }
        of_batch = {
            "decisions": [
                {key: e.get(key) for key in ("sequence", "time", "decision", "actor")}
                for e in entries
                if e["decision"] in BATCH_DECISIONS and e["batch"] == batch["key"]
            ],
            "withdrawn": batch["key"] in out,
        }
        found.append({**batch, "file": landed, **of_batch})
    return found


def as_text(found: Mapping[str, Any]) -> str:
    """A lineage for a person, from the answer to the files."""
    lines = []
    for each in found.get("answers", ()):
        label = (
            f"{each['probability']:.4f}, class {each['class']} (threshold {each['threshold']:g})"
        )
        lines += [
            f"prediction    {each['prediction_id']} of {each['time'][:19]}Z",
            f"              {label} as {each['role']} in {each['environment']}, "
            f"version {each['version']}",
        ]
    scores = ", ".join(
        f"{side.replace('_', ' ')} {s['value']:.3f} ({s['low']:.3f} to {s['high']:.3f})"
        for side, s in found["evaluation"][METRIC].items()
    )
    rows = found["training_set"]["rows"]
    lines += [
        f"version       {found['version'] or 'without a number'} of {found['use_case']}: "
        f"{found['algorithm']}, bundle {short(found['bundle'])}",
        f"runs          MLflow {found['runs']['mlflow']}, Dagster {found['runs']['dagster']}",
        f"evaluation    {short(found['evaluation']['digest'])}: ROC AUC {scores or 'was pruned'}",
        f"training set  {short(found['training_set']['digest'])}: "
        f"{'was pruned' if rows is None else f'{rows} rows'}",
    ]
    origin = found["origin"]
    if origin is not None:
        lines.append(
            f"adopted       from {origin['environment']}, where it is version "
            f"{origin['version']}: {origin['root']}"
        )
    for batch in found["batches"]:
        state = ", withdrawn since" if batch["withdrawn"] else ""
        lines.append(f"batch         {batch['key']} (valid {short(batch['validated'])}{state})")
        file = batch["file"]
        if file is None:
            said = "its receipt is gone" if origin is None else f"landed in {origin['environment']}"
            lines.append(f"  file        {said}")
            continue
        gone = "" if file["there"] else ", gone since"
        lines.append(
            f"  file        {file['name']}, {file['bytes']} bytes, sha256 "
            f"{short(file['digest'])}, landed {file['landed_at'][:19]}Z{gone}"
        )
    for entry in found["decisions"]:
        reasons = "; ".join(entry["reasons"] or [])
        lines.append(
            f"ledger        {entry['sequence']} {entry['time'][:19]}Z {entry['decision']} by "
            f"{entry['actor']}{f': {reasons}' if reasons else ''}"
        )
    return "\n".join(lines)
