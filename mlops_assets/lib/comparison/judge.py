"""What the gate asks: the verdict on a challenger, and whether it promotes, in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.comparison import budget
from mlops_assets.lib.comparison.drifted import drifted
from mlops_assets.lib.comparison.promoting import Promotion, Shifted, promotion
from mlops_assets.lib.comparison.rows import Files, JointRows, NoComparisonError, joint_rows
from mlops_assets.lib.comparison.verdict import Terms, Verdict, judged
from mlops_assets.lib.digests import short
from mlops_assets.lib.records import sealed
from mlops_assets.lib.storage.root import ChangedError, Storage
from mlops_assets.lib.training_set.files import INPUTS, ROWS
from serving.bundle.manifest import BundleError

if TYPE_CHECKING:
    from mlops_assets.lib.spec.use_case import UseCase
    from serving.bundle.loaded import Bundle

PREDICTIONS = "predictions.parquet"
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Judged:
    """A verdict and what follows from it."""

    verdict: Verdict
    promotion: Promotion


def judge(
    store: Storage,
    spec: UseCase,
    digest: str,
    lineage: Mapping[str, Any],
    champion: Mapping[str, Any] | None,
    entries: Sequence[Mapping[str, Any]],
    now: datetime | None = None,
) -> Judged:
    """Compare a challenger with the champion.

    Whatever stands in the way of a comparison is an ``inconclusive`` verdict that says so, and
    promotes nothing.

    Args:
        store: The storage root.
        spec: The use case; ``gate.comparison`` has the limits.
        digest: Of the challenger's bundle.
        lineage: Of its manifest, which was verified.
        champion: The ledger's entry that made the champion: ``bundle``, ``path``, ``time``.
        entries: Of the ledger, first to last.
        now: With a time zone.
    """
    terms = spec.gate.comparison
    if champion is None:
        verdict = Verdict("first", "first: there is no champion to compare with", digest)
        return Judged(verdict, promotion(verdict, terms, 0.0, _nothing))
    crowned = champion["bundle"]
    shifted: Shifted = _nothing
    if digest == crowned:
        said = "equivalent: it is the champion"
        verdict = Verdict("equivalent", said, digest, crowned, answers_alike=True)
    else:
        try:
            files, bundle = _files(store, spec.name, lineage, champion)
            rows = joint_rows(files, bundle)
            contest = _terms(store, spec, lineage["evaluation"], entries, (crowned, digest), rows)
        except (NoComparisonError, BundleError, ChangedError) as error:
            verdict = Verdict("inconclusive", f"inconclusive: {error}", digest, crowned)
        else:
            verdict = judged(rows, contest, digest, crowned)
            sides = rows.trained_on, rows.never_seen
            shifted = partial(drifted, bundle.contract, files.inputs, *sides, spec.drift)
    age = (now or datetime.now(UTC)) - datetime.fromisoformat(champion["time"])
    return Judged(verdict, promotion(verdict, terms, age / DAY, shifted))


def _nothing() -> None:
    """Nothing has drifted: no rows are at hand."""


def _files(
    store: Storage, use_case: str, lineage: Mapping[str, Any], champion: Mapping[str, Any]
) -> tuple[Files, Bundle]:
    """The files of both, and the champion's bundle, loaded.

    Raises:
        NoComparisonError: If something of the challenger is gone.
        ChangedError: If a file is not what it was when it was made.
        BundleError: If the champion's bundle is gone or is not what the ledger names.
    """
    from serving.bundle.loaded import Bundle

    try:
        folder = store.local(champion["path"])
        bundle = Bundle.load(folder, champion["bundle"], use_case)
    except FileNotFoundError as error:
        raise BundleError(str(error)) from None
    theirs = bundle.manifest.lineage
    rows = f"{use_case}/training_sets/{lineage['training_set']}"
    made = sealed.files(store, use_case, lineage["training_set"], rows)
    mine = _predictions(store, use_case, lineage["candidate"])
    if made is None or mine is None:
        what = rows if made is None else f"{use_case}/candidates/{lineage['candidate']}"
        raise NoComparisonError(f"{store.uri(what)} of the challenger is gone: retrain")
    return Files(
        rows=made / ROWS,
        inputs=made / INPUTS,
        challenger=mine,
        champion=_predictions(store, use_case, theirs["candidate"]),
        champion_batches=frozenset(batch["key"] for batch in theirs["batches"]),
    ), bundle


def _predictions(store: Storage, use_case: str, candidate: str) -> Path | None:
    """The scores of a candidate, as long as they are those that it was judged by."""
    key = f"{use_case}/candidates/{candidate}"
    folder = sealed.files(store, use_case, candidate, key)
    return None if folder is None else folder / PREDICTIONS


def _terms(
    store: Storage,
    spec: UseCase,
    evaluation: str,
    entries: Sequence[Mapping[str, Any]],
    pair: tuple[str, str],
    rows: JointRows,
) -> Terms:
    """What the contest is judged by."""
    record = store.read_json(f"{spec.name}/evaluations/{evaluation}.json")
    if record is None:
        raise NoComparisonError(f"evaluation {short(evaluation)} of the challenger is gone")
    wanted = spec.gate.comparison
    look = budget.look(entries, *pair, int(rows.judged.sum()), wanted.fresh_share)
    return Terms(
        margin=wanted.margin,
        level=budget.level(wanted.alpha, look),
        look=look,
        folds=spec.training.outer_folds,
        candidates=len(record["candidates"]),
    )
