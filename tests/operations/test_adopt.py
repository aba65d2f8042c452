"""A version that was promoted in one environment is adopted by another."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.lib.bundles import signing
from mlops_assets.lib.bundles.signing import SigningKey
from mlops_assets.lib.comparison.judge import judge
from mlops_assets.lib.features.dbt_project import feature_model, prepare
from mlops_assets.lib.records.history import awaiting_rollout, champion
from mlops_assets.lib.records.ledger import Kind, Ledger, LedgerError
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import ChangedError, Storage
from mlops_assets.operations.adopt.adopt import Adopted, adopt
from mlops_assets.operations.adopt.offer import KEYS_VARIABLE
from mlops_assets.operations.copying import copy_version
from mlops_assets.operations.decide import RefusedError
from mlops_assets.operations.lineage import as_text, of_version
from mlops_assets.operations.rebuild import RebuildError, rebuild
from mlops_assets.stages import gate
from mlops_assets.stages.evidence import batch_checks
from serving.bundle.manifest import BundleError
from serving.bundle.signature import Trust, parse_public_keys
from tests.platform import HEART, Platform, platform, quick_spec
from tests.versions import variant

FACTS = ("version", "bundle", "path", "training_set", "wanted", "batches")


def promote(store: Storage, decision: Kind = "promoted", **more: Any) -> dict[str, Any]:
    """Write about the version of the first entry; a promotion, if nothing else is said."""
    first = Ledger(store, HEART).entries()[0]
    facts = {name: first[name] for name in FACTS} | {"environment": "staging", "actor": "bob"}
    return Ledger(store, HEART).append(decision, facts | more)


@pytest.fixture
def staging(trained: Platform, tmp_path: Path) -> Storage:
    """A storage root in which the trained version is the champion."""
    shutil.copytree(trained.home / "storage", tmp_path / "staging")
    store = Storage(tmp_path / "staging")
    promote(store)
    return store


@pytest.fixture
def production(tmp_path: Path) -> Iterator[Platform]:
    with platform(tmp_path / "production") as made:
        yield made


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform that adopts nothing."""
    with platform(tmp_path_factory.mktemp("untouched")) as made:
        yield made


@pytest.fixture(scope="module")
def wanted() -> gate.BatchChecks:
    spec = quick_spec()
    model = feature_model(prepare(HEART, spec.contract), HEART)
    return lambda lineage: batch_checks(spec, model, lineage)


def adopted(
    into: Platform,
    source: Storage,
    wanted: gate.BatchChecks,
    version: str | None = None,
    spec: UseCase | None = None,
) -> Adopted:
    given = (into.store, spec or into.spec, wanted, into.mlflow, source, version)
    return adopt(*given, actor="ann", reason="two weeks in staging")


def files(store: Storage) -> dict[str, str]:
    return {file.key: file.stamp for file in store.files("")}


def test_what_serves_in_staging_is_one_line_and_one_version(
    staging: Storage, production: Platform, wanted: gate.BatchChecks, tmp_path: Path
) -> None:
    before = files(staging)
    there = Ledger(staging, HEART).entries()
    key, digest = SigningKey.new(), there[-1]["bundle"]
    # As it is left by a kill right before the signature and the version.
    lineage = (staging.read_json(f"{there[-1]['path']}/manifest.json") or {})["lineage"]
    copy_version(staging, production.store, HEART, digest, lineage)
    run = production.mlflow.run_of_adopted(HEART, digest, {}, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(signing.KEY_VARIABLE, key.private)
        done = adopted(production, staging, wanted)
    entry = done.entry
    assert done.is_new
    assert done.signed == f"signed by the key {key.id}"
    trust = Trust(parse_public_keys(key.public))
    assert trust.check(production.store.local(entry["path"]), digest)
    assert (entry["decision"], entry["decided_by"], entry["answer"]) == (
        "approved",
        "person",
        "adopt",
    )
    assert entry["checks"] == there[0]["checks"]
    assert entry["verdict"]["outcome"] == "first"
    assert entry["origin"] == {
        "environment": "staging",
        "root": staging.root,
        "version": "1",
        "entry": f"2:{there[1]['hash']}",
        "head": f"2:{there[1]['hash']}",
    }
    assert awaiting_rollout(production.ledger.verify()) == entry
    again = adopted(production, staging, wanted, digest[:8])
    assert (again.is_new, again.entry) == (False, entry)
    assert len(production.ledger.verify()) == 1
    (version,) = production.mlflow.client().search_model_versions(f"name = '{HEART}'")
    assert (str(version.version), version.run_id) == (entry["version"], run)
    assert version.tags["adopted_from_environment"] == "staging"
    assert "## Robustness" in str(version.description)
    assert files(staging) == before

    # It is rolled out and judged as any; its own ledger keeps what its checks found.
    promote(production.store, environment="production")
    known = gate.Version(entry["version"], digest, entry["path"])
    entries = production.ledger.verify()
    instance, store, spec = production.instance, production.store, production.spec
    found = gate.ask(instance, store, spec, wanted, known, entries)
    assert (found.objections, found.serves) == ([], True)
    next_one = variant(production, "2", 0.9)
    lineage = (store.read_json(f"{next_one['path']}/manifest.json") or {})["lineage"]
    contest = judge(store, spec, next_one["bundle"], lineage, champion(entries), entries)
    assert contest.verdict.answers_alike
    assert contest.verdict.rows == 303
    # Where its rows are is said.
    text = as_text(of_version(store, HEART, "1"))
    assert f"adopted       from staging, where it is version 1: {staging.root}" in text
    assert "file        landed in staging" in text
    with pytest.raises(RebuildError, match=f"adopted from staging, .* stay in {staging.root}"):
        rebuild(store, HEART, digest, tmp_path / "again", print)


def edit(pattern: str) -> Callable[[Storage], None]:
    """Change a byte of the first file of a pattern."""

    def alter(store: Storage) -> None:
        path = min(Path(store.root, HEART).glob(pattern))
        path.write_bytes(path.read_bytes().replace(b"a", b"b", 1))

    return alter


def withdraw(store: Storage) -> None:
    batch = Ledger(store, HEART).entries()[0]["batches"][0]
    Ledger(store, HEART).append("withdrawn", {"batch": batch, "actor": "bob", "reasons": ["bad"]})


def reject(store: Storage) -> None:
    promote(store, "rejected", decided_by="person", reasons=["no good"])


def judge_again(store: Storage) -> None:
    checks = Ledger(store, HEART).entries()[0]["checks"]
    promote(store, "approved", decided_by="gate", checks=checks[1:])


def remove_rows(store: Storage) -> None:
    shutil.rmtree(store.local(f"{HEART}/training_sets"))


def leave(store: Storage) -> None:
    """Change nothing."""


def spec_with(**changes: dict[str, Any]) -> UseCase:
    spec = quick_spec().model_dump(mode="json", exclude_unset=True)
    for part, values in changes.items():
        spec[part] |= values
    return UseCase.model_validate(spec)


def other_contract() -> UseCase:
    spec = quick_spec().model_dump(mode="json", exclude_unset=True)
    age = next(column for column in spec["contract"]["columns"] if column["name"] == "age")
    age["maximum"] = 99
    return UseCase.model_validate(spec)


@pytest.mark.parametrize(
    ("alter", "version", "spec", "error", "said"),
    [
        (edit("bundles/*/model.onnx"), None, None, BundleError, "model.onnx: expected sha256"),
        (edit("ledger/00000001.json"), None, None, LedgerError, "entry 1: was edited"),
        (
            edit("training_sets/*/rows.parquet"),
            None,
            None,
            ChangedError,
            "rows.parquet is gone or has changed",
        ),
        (
            edit("evaluations/*.json"),
            None,
            None,
            ChangedError,
            "is not what it was when the version",
        ),
        (
            remove_rows,
            None,
            None,
            RefusedError,
            "of version 1 the training set can no more be found",
        ),
        (leave, "7", None, RefusedError, "'7' was never promoted in .*; there were: 1 "),
        (reject, None, None, RefusedError, "rejected there on .* by bob .*: no good"),
        (withdraw, None, None, RefusedError, "batch heart-.* was withdrawn there"),
        (judge_again, None, None, RefusedError, r"readable .*: no result \(missing\)"),
        (leave, None, other_contract(), RefusedError, "column age differs in maximum"),
        (leave, None, spec_with(gate={"floors": {"roc_auc": 0.999}}), RefusedError, "roc_auc"),
    ],
)
def test_what_may_not_serve_is_refused_and_nothing_is_decided(
    staging: Storage,
    untouched: Platform,
    wanted: gate.BatchChecks,
    alter: Callable[[Storage], None],
    version: str | None,
    spec: UseCase | None,
    error: type[Exception],
    said: str,
) -> None:
    alter(staging)
    with pytest.raises(error, match=said):
        adopted(untouched, staging, wanted, version, spec)
    assert untouched.ledger.entries() == []
    assert not (untouched.home / "mlflow").exists()


def test_this_environment_is_no_other_one(
    staging: Storage, wanted: gate.BatchChecks, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(staging.root)
    with platform(tmp_path / "home", root=staging.root) as here:
        for root in (staging.root, tmp_path / "link"):
            with pytest.raises(RefusedError, match="is the storage root of this environment"):
                adopted(here, Storage(root), wanted)
        with pytest.raises(RefusedError, match="has no ledger of heart_disease: give"):
            adopted(here, Storage(tmp_path / "nothing"), wanted)


def test_only_a_trusted_signature_is_taken_where_keys_are_named(
    staging: Storage,
    production: Platform,
    wanted: gate.BatchChecks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs, other = SigningKey.new(), SigningKey.new()
    monkeypatch.setenv("MLOPS_ENVIRONMENT", "production")
    with pytest.raises(RefusedError, match="is not signed, and production serves signed bundles"):
        adopted(production, staging, wanted)
    monkeypatch.setenv(KEYS_VARIABLE, theirs.public)
    with pytest.raises(BundleError, match=r"manifest\.sig: missing"):
        adopted(production, staging, wanted)
    entry = Ledger(staging, HEART).entries()[0]
    for key in (other, theirs):
        signing.sign_stored(key, entry["bundle"], staging, entry["path"])
        if key is other:
            with pytest.raises(BundleError, match="which is not trusted"):
                adopted(production, staging, wanted)
    # No key signs here: the signature of there stays.
    done = adopted(production, staging, wanted)
    assert done.signed == f"signed by the key {theirs.id}"


def test_a_lineage_that_leads_elsewhere_copies_nothing(staging: Storage, tmp_path: Path) -> None:
    store = Storage(tmp_path / "here")
    lineage = {"evaluation": "a" * 64, "candidate": "../ledger/1", "training_set": "b" * 64}
    with pytest.raises(BundleError, match=r"the candidate of bundle cccc.* is no digest"):
        copy_version(staging, store, HEART, "c" * 64, lineage)
    assert not store.exists(HEART)
