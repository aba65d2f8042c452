"""What another environment offers: a version that serves there, and why it may.

Its storage is read and never written. Nothing in it is believed that can be looked at: the chain of
its ledger, every file's digest, and, where this deployment names keys, who signed the bundle.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlops_assets.lib.bundles.bundle import verify_stored
from mlops_assets.lib.bundles.signing import said_of
from mlops_assets.lib.digests import digest_of, short
from mlops_assets.lib.records import recipe, sealed
from mlops_assets.lib.records.history import VERDICTS, Entry, barred, champion
from mlops_assets.lib.records.ledger import Ledger, head
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import ChangedError, Storage
from mlops_assets.operations.decide import RefusedError
from mlops_assets.operations.versions import LEAST_CHARACTERS
from mlops_assets.stages import candidates, registered_version, training_set
from serving.bundle.signature import Trust, parse_public_keys

# Public halves of the keys that sign where versions are adopted from.
KEYS_VARIABLE = "MLOPS_ADOPT_TRUSTED_KEYS"


@dataclass(frozen=True)
class Offer:
    """A version that was promoted in another environment.

    Attributes:
        source: The storage root there.
        entries: Of the ledger there, which was verified.
        promoted: The newest entry there by which it became champion.
        judged: The newest verdict about it there, with what its checks found.
        manifest: Of its bundle, which was verified.
        signed: Who signed the bundle there, in words.
    """

    source: Storage
    entries: list[Entry]
    promoted: Entry
    judged: Entry
    manifest: dict[str, Any]
    signed: str

    @property
    def bundle(self) -> str:
        """Digest of the bundle."""
        return str(self.promoted["bundle"])

    @property
    def lineage(self) -> dict[str, Any]:
        """What it is made of."""
        lineage: dict[str, Any] = self.manifest["lineage"]
        return lineage

    def origin(self) -> dict[str, str]:
        """What the ledger here keeps of where it comes from."""
        return {
            "environment": self.promoted["environment"],
            "root": self.source.root,
            "version": self.promoted["version"],
            "entry": head(self.promoted),
            "head": head(self.entries[-1]),
        }


def find(source: Storage, spec: UseCase, version: str | None) -> Offer:
    """Look for a version that may be adopted.

    Args:
        source: The storage root of the other environment.
        spec: The use case, as it is here.
        version: Its number there, or the start of its digest; the champion there without it.

    Raises:
        RefusedError: If there is none, it was taken out there, its contract is another one, or what
            it was judged by is gone.
        LedgerError: If the ledger there does not hold.
        BundleError: If its bundle is not what its digest names, or is not signed by a trusted key.
        ChangedError: If a file that it was judged by is not what it was.
    """
    if not source.exists(f"{spec.name}/ledger"):
        raise RefusedError(
            f"{source.root} has no ledger of {spec.name}: give the storage root of the other "
            "environment (its MLOPS_STORAGE_ROOT, or the folder `storage` in its MLOPS_HOME)"
        )
    entries = Ledger(source, spec.name).verify()
    promoted = _promoted(source, entries, version)
    number, digest = promoted["version"], promoted["bundle"]
    out = barred(entries).get(digest)
    if out is not None:
        done = "rolled back" if out["decision"] == "rolled_back" else out["decision"]
        raise RefusedError(
            f"version {number} of {source.root} was {done} there on {out['time'][:10]} by "
            f"{out['actor']} (entry {out['sequence']}): {'; '.join(out.get('reasons') or [])}"
        )
    about = [e for e in entries if e.get("bundle") == digest and e["decision"] in VERDICTS]
    if not about:
        raise RefusedError(f"the ledger of {source.root} never judged version {number}")
    folder = registered_version.folder(spec.name, digest)
    manifest = verify_stored(source, folder, digest)
    _refuse_another_contract(source, spec, number, manifest["lineage"])
    _refuse_what_is_gone(source, spec.name, number, manifest["lineage"])
    local = source.local(folder)
    Trust(parse_public_keys(os.environ.get(KEYS_VARIABLE, ""))).check(local, digest)
    _, signed = said_of(local, None, digest)
    return Offer(source, entries, promoted, about[-1], manifest, signed)


def _promoted(source: Storage, entries: list[Entry], version: str | None) -> Entry:
    """The newest promotion of the version that is meant."""
    crowned = champion(entries)
    if crowned is None:
        raise RefusedError(f"nothing was promoted in {source.root} yet: there is nothing to adopt")
    if version is None:
        return crowned
    latest = {e["bundle"]: e for e in entries if e["decision"] == "promoted"}
    found = [e for e in latest.values() if e["version"] == version] or [
        e
        for digest, e in latest.items()
        if len(version) >= LEAST_CHARACTERS and digest.startswith(version)
    ]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{e['version']} ({short(e['bundle'])})" for e in latest.values())
    if found:
        raise RefusedError(f"{version!r} is the start of several digests: give more of it")
    raise RefusedError(
        f"version {version!r} was never promoted in {source.root}; there were: {known}"
    )


def _refuse_another_contract(
    source: Storage, spec: UseCase, number: str, lineage: dict[str, Any]
) -> None:
    theirs, ours = lineage["contract"], spec.contract
    if theirs["digest"] == ours.digest:
        return
    made_with = recipe.read(source, spec.name, lineage.get("recipe", ""))
    if made_with is None:
        differs = "its recipe is gone, so what differs cannot be said"
    else:
        differs = "; ".join(_differences(_as_dict(made_with.contract), _as_dict(ours)))
    raise RefusedError(
        f"version {number} of {source.root} was made under another contract (version "
        f"{theirs['version']}, {short(theirs['digest'])}) than the one here (version "
        f"{ours.version}, {short(ours.digest)}): {differs}"
    )


def _as_dict(contract: Any) -> dict[str, Any]:
    """A contract with its columns by name."""
    said: dict[str, Any] = contract.model_dump(mode="json")
    return said | {"columns": {column["name"]: column for column in said["columns"]}}


def _differences(theirs: dict[str, Any], ours: dict[str, Any]) -> Iterator[str]:
    """In what two contracts differ, in words."""
    there, here = theirs.pop("columns"), ours.pop("columns")
    for name in [*there, *(here.keys() - there.keys())]:
        if name not in here:
            yield f"column {name} is only there"
        elif name not in there:
            yield f"column {name} is only here"
        elif there[name] != here[name]:
            fields = [f for f in here[name] if there[name][f] != here[name][f]]
            yield f"column {name} differs in {', '.join(fields)}"
    yield from (f"{field} differs" for field in ours if theirs[field] != ours[field])


def _refuse_what_is_gone(
    source: Storage, use_case: str, number: str, lineage: dict[str, Any]
) -> None:
    """Refuse a version whose rows, scores or evaluation cannot be held against the champion's."""
    rows, scores = lineage["training_set"], lineage["candidate"]
    key = f"{use_case}/evaluations/{lineage['evaluation']}.json"
    record = source.read_json(key)
    if record is not None:
        rest = {name: value for name, value in record.items() if name != "digest"}
        if digest_of(rest) != lineage["evaluation"]:
            raise ChangedError(f"{source.uri(key)} is not what it was when the version was judged")
    there = {
        "training set": sealed.files(source, use_case, rows, training_set.folder(use_case, rows)),
        "candidate": sealed.files(source, use_case, scores, candidates.folder(use_case, scores)),
        "evaluation": record,
    }
    gone = [what for what, found in there.items() if found is None]
    if gone:
        raise RefusedError(
            f"of version {number} the {' and the '.join(gone)} can no more be found in "
            f"{source.root}: `mlops prune` keeps them of the champion and of some before"
        )
