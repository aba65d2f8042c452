"""A window as a table for people, in Markdown."""

from __future__ import annotations

from mlops_assets.lib.drift.window import Finding, Window, sentence

MOST_COLUMNS = 40
WIDTH = 10
# An effect this many times the least that matters fills the bar.
FULL = 5.0


def table(window: Window) -> str:
    """The columns of a window, the largest effect first, each with a bar of its effect.

    The bar is full at five times the least effect that matters.
    """
    if not window.findings:
        return window.reason
    lines = [
        "| column | effect | | before | now | missing before, now | test | adjusted p | |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_line(finding) for finding in window.findings[:MOST_COLUMNS]]
    if len(window.findings) > MOST_COLUMNS:
        lines.append(f"\n{len(window.findings) - MOST_COLUMNS} more columns have smaller effects.")
    lines += [f"\n{said}." for said in window.left_out]
    if any(not finding.decides for finding in window.findings):
        lines.append("\nFeatures follow from the inputs: they are shown and decide nothing.")
    return "\n".join(lines)


def _line(finding: Finding) -> str:
    one = finding.measured
    means = [one.figures.get(f"{side}_mean") for side in ("reference", "current")]
    before, now = ("" if mean is None else f"{mean:.4g}" for mean in means)
    lacks = f"{one.missing[0]:.1%}, {one.missing[1]:.1%}" if any(one.missing) else ""
    p = f"{min(finding.found.values()):.2g}" if finding.found else ""
    said = sentence(finding) if finding.drifted else one.note or ""
    name = one.name if finding.decides else f"{one.name} ({one.kind})"
    cells = [name, bar(finding.effect), _effects(finding), before, now, lacks, one.test or "", p]
    return "| " + " | ".join([*cells, said.replace("|", "\\|")]) + " |"


def bar(effect: float) -> str:
    """An effect as a bar."""
    filled = min(round(effect / FULL * WIDTH), WIDTH)
    return "█" * filled + "░" * (WIDTH - filled)


def _effects(finding: Finding) -> str:
    names = {"shift": "{:.2f} sd", "jensen_shannon": "JS {:.2f}", "stability_index": "PSI {:.2f}"}
    effects = finding.measured.effects
    return ", ".join(text.format(effects[name]) for name, text in names.items() if name in effects)
