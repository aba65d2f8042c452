"""``mlops rebuild``: makes a registered version again from its lineage, and compares the two.

It works with the recipe of that version, whatever the spec says now, in a folder of its own. The
storage is read and never written: no pointer, no alias, no line of the ledger, no run of MLflow.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlops_assets.lib.bundles import bundle
from mlops_assets.lib.digests import file_digest, short
from mlops_assets.lib.personal_data import erasure
from mlops_assets.lib.records import recipe
from mlops_assets.lib.records.batches import Batches
from mlops_assets.lib.records.history import adoption
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.spec.training_plan import STACK, Algorithm
from mlops_assets.lib.storage.root import Storage
from mlops_assets.lib.training.onnx_model import predictor
from mlops_assets.lib.training_set.files import Source
from mlops_assets.lib.training_set.rows import feature_slices
from serving.bundle.manifest import verify


class RebuildError(ValueError):
    """A version cannot be made again; the message says what is missing."""


@dataclass(frozen=True)
class Rebuilt:
    """A version beside what was made again.

    Attributes:
        digest: Of the new bundle.
        equal: Whether it is the old one, bit by bit.
        difference: Largest difference of a probability over all rows, test rows included.
        rows: How many rows.
        reasons: What differs, in words; empty where they are equal.
    """

    digest: str
    equal: bool
    difference: float
    rows: int
    reasons: list[str]


def rebuild(
    store: Storage, use_case: str, digest: str, folder: Path, say: Callable[[str], None]
) -> Rebuilt:
    """Make a version again.

    Args:
        store: The storage root.
        use_case: Whose version.
        digest: Of its bundle.
        folder: An empty folder; it keeps what is made.
        say: Told what is done.

    Raises:
        RebuildError: If its recipe or the rows of a batch are gone, rows of it were erased, or the
            rows are others.
        serving.bundle.manifest.BundleError: If the bundle is not what its digest names.
    """
    from mlops_assets.stages import candidates, training_set

    old = store.local(f"{use_case}/bundles/{digest}")
    manifest = verify(old, digest)
    lineage = manifest["lineage"]
    _refuse_erased(store, use_case, lineage)
    made_with = _recipe(store, use_case, lineage)

    rows = folder / "training_set"
    rows.mkdir(parents=True)
    _, source = training_set.make(
        _sources(store, use_case, digest, lineage),
        made_with.contract,
        made_with.split,
        rows,
        {
            "wanted": lineage["wanted"],
            "batches": lineage["batches"],
            "features_sql": (old / "features.sql").read_text(encoding="utf-8"),
            "contract": lineage["contract"],
            "split": _written(store, use_case, lineage)["split"],
        },
    )
    count = sum(source["rows"].values())
    if source["digest"] != lineage["training_set"]:
        raise RebuildError(
            f"the {count} rows of its {len(lineage['batches'])} batches give the training set "
            f"{short(source['digest'])}, not {short(lineage['training_set'])}: the platform puts "
            "training sets together otherwise since, or other libraries write other bytes "
            f"({_libraries(manifest) or 'the versions of the libraries are the same'})"
        )
    say(f"training set {short(source['digest'])}: {count} rows, the same as then")

    plan, winner = made_with.training, lineage["algorithm"]
    made: dict[Algorithm, dict[str, Any]] = {}
    for name in (*plan.members, STACK) if winner == STACK else (winner,):
        local = folder / "candidates" / name
        local.mkdir(parents=True)
        members = made if name == STACK else {}
        entry = candidates.make(
            name, rows, source, made_with.split, plan, made_with.decision, members, local
        )
        made[name] = entry.record
        say(f"{name}: trained in {entry.seconds['wall']:.1f} s")
    winning = folder / "candidates" / winner

    parts = bundle.Parts(
        use_case=use_case,
        contract=made_with.contract,
        features_sql=source["features_sql"],
        features=source["features"],
        threshold=manifest["threshold"],
        training_set=rows,
        candidate=winning,
        lineage={**lineage, "candidate": made[winner]["digest"]},
        provenance={"rebuilt_at": datetime.now(UTC).isoformat()},
    )
    again = bundle.write(parts, folder / "bundle")
    difference = _difference(old, folder / "bundle", rows, source["features"])
    found = bundle.digest(again)
    reasons = _reasons(manifest, again)
    if found != digest and not made[winner]["reproducible"]:
        reasons.append("a search was ended by its budget of seconds, and not at the same trial")
    return Rebuilt(found, found == digest, difference, count, reasons)


def _written(store: Storage, use_case: str, lineage: Mapping[str, Any]) -> dict[str, Any]:
    return store.read_json(f"{use_case}/recipes/{lineage['recipe']}.json") or {}


def _recipe(store: Storage, use_case: str, lineage: Mapping[str, Any]) -> recipe.Recipe:
    digest = lineage.get("recipe")
    if digest is None:
        raise RebuildError(
            "it was registered before versions kept their recipe: its training plan (seed, folds, "
            "search), its split, the costs and the text of its contract "
            f"(version {lineage['contract']['version']}, {short(lineage['contract']['digest'])}) "
            "are written nowhere"
        )
    found = recipe.read(store, use_case, digest)
    if found is None:
        raise RebuildError(f"its recipe {short(digest)} is gone or was changed")
    return found


def _refuse_erased(store: Storage, use_case: str, lineage: Mapping[str, Any]) -> None:
    """Say so if rows that a version was made of were erased since."""
    told = [
        f"{len(entry['rows'][batch['key']])} rows of batch {batch['key']} were erased on "
        f"{entry['time'][:10]} (entry {entry['sequence']} of the ledger)"
        for entry in erasure.tombstones(store, use_case)
        if lineage["training_set"] in entry["training_sets"]
        for batch in lineage["batches"]
        if entry["rows"].get(batch["key"])
    ]
    if told:
        raise RebuildError(f"{'; '.join(told)}: it was made of them and cannot be made again")


def _sources(
    store: Storage, use_case: str, digest: str, lineage: Mapping[str, Any]
) -> list[Source]:
    """The files of the batches, found by their digests: other ones may be current by now."""
    sources, gone = [], []
    for batch in lineage["batches"]:
        paths = {
            stage: file_of_batch(store, use_case, batch["key"], stage, batch[stage])
            for stage in ("features", "validated")
        }
        gone += [f"{stage} of batch {batch['key']}" for stage, path in paths.items() if not path]
        if paths["features"] and paths["validated"]:
            sources.append(Source(batch["key"], paths["features"], paths["validated"]))
    if gone:
        touched = {key for entry in erasure.tombstones(store, use_case) for key in entry["rows"]}
        erased = [batch["key"] for batch in lineage["batches"] if batch["key"] in touched]
        why = f" (rows of batch {', '.join(erased)} were erased since)" if erased else ""
        adopted = adoption(Ledger(store, use_case).entries(), digest)
        if adopted is not None:
            origin = adopted["origin"]
            why += (
                f": it was adopted from {origin['environment']}, and its batches stay in "
                f"{origin['root']}; rebuild version {origin['version']} there, with that as "
                "MLOPS_STORAGE_ROOT"
            )
        raise RebuildError(f"what it was made of is gone: {', '.join(gone)}{why}")
    return sources


def file_of_batch(store: Storage, use_case: str, key: str, stage: str, digest: str) -> Path | None:
    """The file of a batch that a digest names, current or not; None if it is gone."""
    pointer = Batches(store, use_case).pointer(key, stage) or {}
    prefix = f"{use_case}/{stage}"
    names = [f"{prefix}/{n}" for n in store.list(prefix) if n.startswith(f"{key}-")]
    for name in sorted(names, key=lambda name: name != pointer.get("file")):
        path = store.local(name)
        if file_digest(path) == digest:
            return path
    return None


def _difference(old: Path, new: Path, rows: Path, features: list[str]) -> float:
    """Largest difference between two bundles' models over the rows of a training set."""
    import numpy as np

    before, after = (predictor(each / "model.onnx") for each in (old, new))
    gaps = [np.abs(before(v) - after(v)).max() for v in feature_slices(rows, features)]
    return float(np.max(gaps))


def _libraries(manifest: Mapping[str, Any]) -> str:
    """The libraries that have another version now."""
    then, now = manifest["versions"], bundle.versions()
    changed = [name for name in sorted(then.keys() | now.keys()) if then.get(name) != now.get(name)]
    return ", ".join(f"{n} was {then.get(n, 'absent')}, is {now.get(n, 'absent')}" for n in changed)


def _reasons(manifest: Mapping[str, Any], again: Mapping[str, Any]) -> list[str]:
    reasons = []
    if libraries := _libraries(manifest):
        reasons.append(f"other libraries: {libraries}")
    names = [
        name
        for name, entry in again["files"].items()
        if entry["sha256"] != manifest["files"][name]["sha256"]
    ]
    if names:
        reasons.append(f"other bytes in {', '.join(names)}")
    if manifest["lineage"]["candidate"] != again["lineage"]["candidate"]:
        reasons.append("another out-of-fold score or other parameters of the candidate")
    if names and not libraries:
        reasons.append("the libraries are the same: the platform's code or the machine has changed")
    return reasons
