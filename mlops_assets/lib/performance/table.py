"""A judged day as a person sees it: measured and estimated beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops_assets.lib.evaluation.report import table


def tables(record: Mapping[str, Any]) -> str:
    """A table of each version in each role, with what there is to say."""
    parts = [*record["said"]]
    for each in record["versions"]:
        parts.append(
            f"**Version {each['version']}, {each['role']}** (`{each['bundle'][:12]}`): "
            f"{each['rows']} answers, {each['labelled']} labelled"
        )
        parts += each["said"]
        if each["measured"] or each["estimated"]:
            parts.append(_scores(each))
        behind = [s for s in each["slices"] if s["judged"]]
        if behind:
            parts.append(_slices(behind))
    return "\n\n".join(parts)


def _scores(version: Mapping[str, Any]) -> str:
    measured, estimated, error = (version[k] or {} for k in ("measured", "estimated", "error"))
    lines = [["metric", "measured", "estimated", "error of the estimate"]]
    for name in measured or estimated:
        lines.append(
            [
                name,
                _shown(measured.get(name)),
                _shown(estimated.get(name)),
                f"{error[name]:+.3f}" if name in error else "",
            ]
        )
    return table(lines)


def _shown(score: Mapping[str, float] | None) -> str:
    if score is None:
        return ""
    return f"{score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f})"


def _slices(looked: list[Mapping[str, Any]]) -> str:
    lines = [["slice", "labelled", "positives", "less the rest: ROC AUC", "TPR", "FPR"]]
    for each in looked:
        gaps = [
            each["gaps"].get(name)
            for name in ("roc_auc", "true_positive_rate", "false_positive_rate")
        ]
        lines.append(
            [
                f"{each['column']} = {each['value']}",
                str(each["rows"]),
                str(each["positives"]),
                *(f"{gap['difference']['value']:+.3f}" if gap else "" for gap in gaps),
            ]
        )
    return table(lines)
