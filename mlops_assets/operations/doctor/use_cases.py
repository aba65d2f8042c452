"""The use cases: specs that can be read, ledgers that hold, champions that are whole."""

from collections.abc import Iterator

from mlops_assets import home
from mlops_assets.lib.digests import short
from mlops_assets.lib.personal_data.key_proof import OtherKeyError, refuse_another
from mlops_assets.lib.personal_data.pseudonyms import KEY_VARIABLE, key_from_environment
from mlops_assets.lib.records import desired_state
from mlops_assets.lib.records.history import Entry, champion
from mlops_assets.lib.records.ledger import Ledger, LedgerError
from mlops_assets.lib.spec.rollout_policy import rollout_policy
from mlops_assets.lib.spec.spec_file import SpecError
from mlops_assets.lib.spec.specs import load_specs
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.operations.doctor.finding import Finding
from mlops_assets.operations.doctor.registry import Registry
from mlops_assets.operations.withdraw import serves_withdrawn


def use_cases(registry: Registry) -> Iterator[Finding]:
    """Every spec, with its ledger and its champion."""
    specs = load_specs()
    yield Finding("specs", "ok", ", ".join(specs))
    yield from policy()
    store = Storage(home.storage_root())
    for spec in specs.values():
        yield from key_of(store, spec)
        yield from _use_case(store, spec, registry)


def policy() -> Iterator[Finding]:
    """What this environment says of rollouts, where it says anything."""
    about = "rollout policy"
    try:
        found = rollout_policy()
    except (SpecError, OSError) as error:
        do = "mend the file: no approved version is rolled out until then; a rollback is"
        yield Finding(about, "fail", str(error), do)
        return
    if found is not None:
        named = ", ".join(found.by_use_case) or "no use case"
        yield Finding(about, "ok", f"{found.file} ({short(found.digest)}) for {named}")


def key_of(store: Storage, spec: UseCase) -> Iterator[Finding]:
    """Whether personal data can be hashed, with the key of those that are there."""
    if not any(column.pii == "hash" for column in spec.contract.columns):
        return
    about = f"{spec.name} key"
    try:
        refuse_another(store, spec.name, key_from_environment())
    except OtherKeyError as error:
        do = f"set the {KEY_VARIABLE} of before: no batch is read and nobody erased until then"
        yield Finding(about, "fail", str(error), do)
    except ValueError as error:
        yield Finding(about, "fail", str(error), f"set {KEY_VARIABLE}: no batch is read until then")
    else:
        yield Finding(about, "ok", f"{KEY_VARIABLE} is set, and is that of the data")


def _anchored(
    store: Storage, spec: UseCase, entries: list[Entry], registry: Registry
) -> Iterator[Finding]:
    from mlops_assets.resources.anchor import open_ledger

    said = f"{len(entries)} entries, the chain holds"
    anchor = open_ledger(store, spec.name).anchor
    if anchor is None:
        yield Finding(f"{spec.name} ledger", "ok", said)
        return
    if registry.problem:
        said += ", and is not held against its anchor: MLflow does not answer"
        do = "nothing is decided until it does, unless MLOPS_LEDGER_ANCHOR=off"
        yield Finding(f"{spec.name} ledger", "fail", said, do)
        return
    try:
        held = anchor.hold(entries)
    except LedgerError as error:
        do = "bring the ledger back from a backup, and find out who could write to the storage"
        yield Finding(f"{spec.name} ledger", "fail", str(error), do)
    else:
        yield Finding(f"{spec.name} ledger", "ok", f"{said}; {held}")


def _lost(store: Storage, spec: UseCase, entries: list[Entry]) -> Iterator[Finding]:
    """What stands outside of the ledger, and speaks of entries that it does not have."""
    claimed = desired_state.claimed(store, spec.name, home.environment())
    role = desired_state.read(store, spec.name, home.environment()).get("champion")
    if claimed > len(entries) or (role is not None and not entries):
        said = (
            f"the desired state follows entry {claimed} of the ledger, which has {len(entries)}: "
            "entries are gone, or somebody edited the desired state"
        )
        do = "bring the ledger back from a backup; `mlops rollback` writes the desired state anew"
        yield Finding(f"{spec.name} desired state", "fail", said, do)


def _alias(spec: UseCase, entries: list[Entry], registry: Registry) -> Iterator[Finding]:
    from mlops_assets.rollout.alias import misplaced

    if registry.problem:
        return  # said once, of MLflow
    wrong = misplaced(spec.name, entries, registry.mlflow)
    if wrong is not None:
        yield Finding(f"{spec.name} alias", "warn", wrong, "find out who moved it")


def _use_case(store: Storage, spec: UseCase, registry: Registry) -> Iterator[Finding]:
    from mlops_assets.lib.bundles.bundle import verify_stored
    from serving.bundle.manifest import BundleError

    try:
        entries = Ledger(store, spec.name).verify()
    except LedgerError as error:
        do = "somebody edited it: bring it back from a backup; nothing is promoted until it holds"
        yield Finding(f"{spec.name} ledger", "fail", str(error), do)
        return
    yield from _anchored(store, spec, entries, registry)
    yield from _lost(store, spec, entries)
    crowned = champion(entries)
    if crowned is None:
        yield Finding(f"{spec.name} champion", "ok", "none yet")
        return
    yield from _alias(spec, entries, registry)
    about, version = f"{spec.name} champion", crowned["version"]
    try:
        manifest = verify_stored(store, crowned["path"], crowned["bundle"])
    except BundleError as error:
        do = f"materialise {spec.name}/registered_version, or promote another version"
        yield Finding(about, "fail", f"the bundle of version {version} is damaged: {error}", do)
        return
    agreed = manifest["lineage"]["contract"]
    present = spec.contract
    if agreed["version"] == present.version and agreed["digest"] != present.digest:
        said = f"it has changed since version {version} was trained, and is still {present.version}"
        do = "raise contract.version if the data mean something else; if not, nothing is to be done"
        yield Finding(f"{spec.name} contract", "warn", said, do)
    gone = serves_withdrawn(store, entries)
    if gone:
        said = f"version {version} was trained on {', '.join(gone)}, which is withdrawn"
        do = "land better data: the next promoted version replaces it"
        yield Finding(about, "warn", said, do)
    role = desired_state.read(store, spec.name, home.environment()).get("champion")
    if role is None or role["digest"] != crowned["bundle"]:
        said = f"the desired state names {role and role['version']}, the ledger {version}"
        do = f"a rollout is at work, or was killed: materialise {spec.name}/rollout"
        yield Finding(about, "warn", said, do)
    elif not gone:
        yield Finding(about, "ok", f"version {version}, its files are whole")
