"""Checks and their specs from one place, so that they cannot disagree.

Every result carries the digest of what it judged (its subject). The gate reads results by subject,
since the latest result of a check may be about something else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dagster as dg

from mlops_assets.lib.spec.use_case import UseCase

GATE = "mlops/gate"
SUBJECT = "subject"
ERROR = dg.AssetCheckSeverity.ERROR
# How the answer of a check begins that could not be asked; another one says why.
UNASKED = "not looked at"


@dataclass(frozen=True)
class Check:
    """One question about an asset.

    Attributes:
        name: Of the check.
        question: What passes, in a sentence.
        gate: Whether a version needs a pass. Advice (False) is shown and never gates.
        blocking: Whether a failure stops the run, too. The gate does not rely on it.
    """

    name: str
    question: str
    gate: bool = True
    blocking: bool = False


@dataclass(frozen=True)
class Checks:
    """The checks of one asset."""

    asset: dg.AssetKey
    checks: tuple[Check, ...]

    def specs(self) -> list[dg.AssetCheckSpec]:
        """As the asset declares them."""
        return [
            dg.AssetCheckSpec(
                name=check.name,
                asset=self.asset,
                description=check.question,
                blocking=check.blocking,
                metadata={GATE: check.gate},
            )
            for check in self.checks
        ]

    def result(
        self,
        context: dg.AssetExecutionContext,
        name: str,
        passed: bool,
        subject: str,
        said: str,
        metadata: Mapping[str, Any] | None = None,
        severity: dg.AssetCheckSeverity | None = None,
    ) -> dg.AssetCheckResult:
        """One answer; a failure is written to the log as well.

        Args:
            context: Of the run.
            name: Of a declared check.
            passed: The answer.
            subject: Digest of what was judged.
            said: What was found, with numbers and limits.
            metadata: Further facts.
            severity: Of a failure, if it is not that of every check of its kind.

        Raises:
            KeyError: If no such check is declared.
        """
        check = {check.name: check for check in self.checks}[name]
        severity = severity or (ERROR if check.gate else dg.AssetCheckSeverity.WARN)
        if not passed:
            log = context.log.error if severity == ERROR else context.log.warning
            log(f"{self.asset.to_user_string()} {name}: {said}")
        about = {"batch": context.partition_key} if context.has_partition_key else {}
        return dg.AssetCheckResult(
            asset_key=self.asset,
            check_name=name,
            passed=passed,
            severity=severity,
            description=said,
            metadata={SUBJECT: subject, "run": context.run.run_id, **about, **(metadata or {})},
        )

    def unanswered(
        self, context: dg.AssetExecutionContext, names: Iterable[str], subject: str, why: str
    ) -> list[dg.AssetCheckResult]:
        """Failures of the checks that could not be asked."""
        return [self.result(context, name, False, subject, f"{UNASKED}: {why}") for name in names]


def asset_key(spec: UseCase, *path: str) -> dg.AssetKey:
    """The key of an asset of a use case."""
    return dg.AssetKey([spec.name, *path])


def common(spec: UseCase, stage: str, *kinds: str) -> dict[str, Any]:
    """What every asset of a use case says about itself."""
    return {
        "group_name": spec.name,
        "owners": spec.owners,
        "kinds": {"python", *kinds} if len(kinds) < 3 else set(kinds),
        "tags": {"mlops/use_case": spec.name, "mlops/stage": stage},
        "freshness_policy": _freshness(spec, stage),
    }


def _freshness(spec: UseCase, stage: str) -> dg.FreshnessPolicy | None:
    """How old an asset may grow, if the spec says so."""
    days = spec.alerts.stale_days.model_dump().get(stage)
    return None if days is None else dg.FreshnessPolicy.time_window(timedelta(days=days))


def column_schema(columns: Iterable[tuple[str, str, str]]) -> dg.TableSchema:
    """A column schema of name, type and description."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(name=name, type=type_, description=description)
            for name, type_, description in columns
        ]
    )
