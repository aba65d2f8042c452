"""What ``batch_drift`` and ``live_drift`` have in common: a judged window as people see it.

Drift is advice. Whatever goes wrong here is said, with its traceback in the log of the run, and
stops nothing: a batch is as good as its checks found it, and a day of answers was answered.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.drift import records
from mlops_assets.lib.drift.reference import Trained
from mlops_assets.lib.drift.report import NothingToDrawError, draw
from mlops_assets.lib.drift.table import table
from mlops_assets.lib.drift.version import Current, pairs
from mlops_assets.lib.drift.window import Window
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage, as_bytes
from mlops_assets.stages.checks import Check, Checks

CHECK = "drift"


def check(what: str) -> Check:
    """The check of a window; it warns."""
    return Check(CHECK, f"{what} look like those that the version was trained on.", gate=False)


@dataclass(frozen=True)
class Judged:
    """A window as one version sees it."""

    version: str
    bundle: str
    window: Window
    known: Trained | None = None
    current: Current | None = None


@dataclass(frozen=True)
class Found:
    """A window as all versions that it is about see it.

    Attributes:
        rows: Of the window.
        versions: The one with the most rows first.
        said: What else there is to say, why nothing was judged among it.
        pictures: What was said of Evidently's report.
        broken: Whether looking broke.
    """

    rows: int
    versions: list[Judged] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    pictures: Mapping[str, Any] = field(default_factory=dict)
    broken: bool = False

    @property
    def drifted(self) -> bool:
        """Whether any version says so."""
        return any(judged.window.drifted for judged in self.versions)

    @property
    def score(self) -> float | None:
        """The largest drift score."""
        return max((s for j in self.versions if (s := j.window.score) is not None), default=None)

    @property
    def effect(self) -> float:
        """The largest effect, as a multiple of the least that matters."""
        return max((judged.window.effect for judged in self.versions), default=0.0)

    @property
    def reason(self) -> str:
        """Why, in one sentence."""
        if len(self.versions) == 1:
            parts = [self.versions[0].window.reason]
        else:
            parts = [f"version {j.version}: {j.window.reason}" for j in self.versions]
        return "; ".join([*parts, *self.said])

    def record(self) -> dict[str, Any]:
        """What ``records.read`` promises, but for the window itself."""
        return {
            "rows": self.rows,
            "judged": any(judged.window.why_not is None for judged in self.versions),
            "drifted": self.drifted,
            "score": self.score,
            "effect": self.effect,
            "reason": self.reason,
            "pictures": dict(self.pictures),
            "versions": [
                {"version": j.version, "bundle": j.bundle, **j.window.record()}
                for j in self.versions
            ],
        }


def unless_it_breaks(context: dg.AssetExecutionContext, look: Callable[[], Found]) -> Found:
    """What was found, or that looking broke."""
    try:
        found = look()
        as_bytes(found.record())  # what cannot be written down is not known
    except Exception as error:  # whatever it is, it must not lose the batch
        context.log.exception("drift could not be judged")
        said = f"not judged: {type(error).__name__}: {error}"
        return Found(0, said=[said], broken=True)
    return found


def drawn(
    context: dg.AssetExecutionContext, spec: UseCase, store: Storage, found: Found, folder: str
) -> dict[str, Any]:
    """Draw Evidently's report of the version with the most rows.

    Returns:
        ``report`` (its key in the storage) and ``evidently`` (its verdict), or ``evidently`` alone,
        which then says why nothing was drawn.
    """
    if not found.versions:
        return {"evidently": f"not drawn: {found.reason}"}
    first = found.versions[0]
    if first.known is None or first.current is None or first.window.why_not is not None:
        return {"evidently": f"not drawn: {first.window.reason}"}
    if first.known.rows is None:
        return {"evidently": "not drawn: the rows of the version's training are gone"}
    key = f"{folder}/{records.REPORT}"
    both = pairs(first.known, first.known.rows, first.current)
    try:
        with store.writing(key) as page:
            verdict = draw(both, first.window, spec.drift.report_rows, page)
    except NothingToDrawError as error:
        return {"evidently": f"not drawn: {error}"}
    except Exception as error:  # a picture is worth no batch
        context.log.exception("Evidently's report could not be drawn")
        return {"evidently": f"not drawn: {type(error).__name__}: {error}"}
    return {"report": key, "evidently": str(verdict)}


def results(
    context: dg.AssetExecutionContext,
    asked: Checks,
    store: Storage,
    found: Found,
    subject: str,
    pictures: str | None,
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """The materialisation of a window and its check.

    Args:
        context: Of the run.
        asked: The declared checks.
        store: Where the report lies.
        found: The verdict.
        subject: Digest of what was judged.
        pictures: Why there is no report where none was asked for.
    """
    numbers = {
        "rows": found.rows,
        "largest effect": found.effect,
        **({} if found.score is None else {"drift score": found.score}),
    }
    about = dict(found.pictures)
    report = about.get("report")
    tables = "\n\n".join(
        f"**Version {j.version}** (`{j.bundle[:12]}`): {j.window.reason}\n\n{table(j.window)}"
        for j in found.versions
    )
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(digest_of(found.record())),
        metadata={
            **numbers,
            "verdict": found.reason,
            "columns": dg.MetadataValue.md(tables or found.reason),
            "Evidently says": about.get("evidently") or pictures or "",
            **({"report": dg.MetadataValue.path(store.uri(report))} if report else {}),
        },
    )
    yield asked.result(
        context, CHECK, not (found.drifted or found.broken), subject, found.reason, numbers
    )
