"""The model card: what a version is for, from which rows, how good, and where it is weak."""

from collections.abc import Mapping
from typing import Any

from mlops_assets.lib.evaluation.intervals import Interval
from mlops_assets.lib.spec.use_case import UseCase


def card(spec: UseCase, manifest: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
    """Write the card of a version as Markdown.

    Args:
        spec: The use case, for its intended use and limits.
        manifest: Of the bundle, for the lineage.
        evaluation: Record of the evaluation, for the metrics.
    """
    lineage = manifest["lineage"]
    metrics = [
        f"| {name} | {Interval(**score)} | {Interval(**evaluation['test'][name])} |"
        for name, score in evaluation["out_of_fold"].items()
    ]
    slices = [
        f"| {s['column']} = {s['value']} | {s['rows']} | "
        f"{Interval(**s['roc_auc']) if s['roc_auc'] else 'one class only'} |"
        for s in evaluation["slices"]
    ]
    batches = [f"- `{b['key']}` (features {b['features'][:12]})" for b in lineage["batches"]]
    return "\n".join(
        [
            f"# {spec.title}",
            "",
            spec.description.strip(),
            "",
            "## Model",
            "",
            f"{lineage['algorithm']}, sigmoid-calibrated, threshold {manifest['threshold']:g} "
            f"(a missed positive costs {spec.decision.cost_false_negative:g}, a false alarm "
            f"{spec.decision.cost_false_positive:g}).",
            "",
            "## Metrics (95 % intervals)",
            "",
            "| metric | out of fold | test rows |",
            "| --- | --- | --- |",
            *metrics,
            "",
            "## Slices (ROC AUC, out of fold)",
            "",
            "| slice | rows | ROC AUC |",
            "| --- | --- | --- |",
            *slices,
            "",
            "## Data",
            "",
            f"Training set `{lineage['training_set'][:12]}`, contract version "
            f"{lineage['contract']['version']}, from the batches",
            "",
            *batches,
            "",
        ]
    )


def with_decision(card: str, entry: Mapping[str, Any]) -> str:
    """A card with what was decided about its version, in place of an earlier decision."""
    return card.split("\n## Decision\n")[0].rstrip() + f"\n\n## Decision\n\n{entry['decision']}\n"
