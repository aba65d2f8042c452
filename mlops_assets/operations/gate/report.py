"""The gate's report: Markdown with its pictures beside it, for a pull request and for a person."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mlops_assets.lib.evaluation.intervals import Interval
from mlops_assets.operations.gate.junit import junit
from mlops_assets.operations.gate.outcome import Answer, Outcome

REPORT, SUMMARY, JUNIT, CARD, PLOTS = (
    "report.md",
    "summary.md",
    "junit.xml",
    "model_card.md",
    "plots",
)


def write_report(outcome: Outcome, folder: Path) -> Path:
    """Write everything about a run of the gate, in the place of what was there.

    Args:
        outcome: What the gate found.
        folder: For ``report.md`` (with the model card and the plots that it links), ``summary.md``
            (the same without them, for a comment that can show no files) and ``junit.xml``.

    Returns:
        The path of ``report.md``.
    """
    shutil.rmtree(folder / PLOTS, ignore_errors=True)
    (folder / CARD).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    summary = _summary(outcome)
    links = []
    if outcome.card:
        (folder / CARD).write_text(outcome.card, encoding="utf-8")
        links += ["", f"[Model card]({CARD})"]
    if outcome.pictures:
        links += ["", "## Plots"]
        (folder / PLOTS).mkdir()
    for picture in outcome.pictures:
        shutil.copyfile(picture, folder / PLOTS / picture.name)
        title = picture.stem.replace("_", " ")
        links += ["", f"### {title}", "", f"![{title}]({PLOTS}/{picture.name})"]
    report = folder / REPORT
    report.write_text("\n".join([*summary, *links, ""]), encoding="utf-8")
    (folder / SUMMARY).write_text("\n".join([*summary, ""]), encoding="utf-8")
    (folder / JUNIT).write_bytes(junit(outcome))
    return report


def as_text(outcome: Outcome) -> str:
    """The result for a terminal: one line, and one for each thing that stands in the way."""
    lines = [outcome.result]
    if outcome.evaluation is not None:
        score = Interval(**outcome.evaluation["out_of_fold"]["roc_auc"])
        lines.append(f"  {outcome.evaluation['winner']}: ROC AUC {score} out of fold")
    lines += [f"  crashed  {crash.where}: {crash.said}" for crash in outcome.crashes]
    lines += [
        f"  {answer.status:<8} {answer.asset} {answer.check}{_of(answer)}: {answer.said}"
        for answer in outcome.answers
        if answer.status != "passed"
    ]
    return "\n".join(lines)


def _of(answer: Answer) -> str:
    return f" of {answer.batch}" if answer.batch else ""


def _summary(outcome: Outcome) -> list[str]:
    parts = [
        f"# {'✅' if outcome.passed else '❌'} {outcome.title}",
        f"**{outcome.result}**",
        f"Data: {', '.join(f'`{name}`' for name in outcome.data)}",
    ]
    if outcome.crashes:
        parts += ["## What broke"]
        parts += [f"`{crash.where}`:\n\n```text\n{crash.said}\n```" for crash in outcome.crashes]
    if outcome.entry is not None:
        parts += ["## Verdict", *_verdict(outcome, outcome.entry)]
    if outcome.evaluation is not None:
        parts += ["## Metrics (95 % intervals)", _metrics(outcome.evaluation)]
    for name, table in outcome.tables.items():
        # The test rows stand beside the out-of-fold scores above.
        if name != "test rows":
            parts += [f"## {name.capitalize()}", table]
    parts += ["## Checks", _checks(outcome.answers)]
    return "\n\n".join(parts).splitlines()


def _verdict(outcome: Outcome, entry: dict[str, Any]) -> list[str]:
    """The decision of the ledger, and the comparison with the champion where there was one."""
    lines = [f"Version {entry['version']} (bundle `{str(entry['bundle'])[:12]}`): "]
    lines[0] += f"**{entry['decision']}**"
    verdict = entry.get("verdict")
    against = f" against {outcome.against}" if outcome.against else ""
    if verdict:
        lines.append(f"Verdict{against}: {verdict['said']}")
    elif outcome.against:
        lines.append(f"The ledger of {outcome.against} was read; the gate made no comparison.")
    lines += [f"- {reason}" for reason in entry.get("reasons") or []]
    return lines


def _metrics(evaluation: dict[str, Any]) -> str:
    lines = [["metric", "out of fold", "test rows"]]
    lines += [
        [name, str(Interval(**score)), str(Interval(**evaluation["test"][name]))]
        for name, score in evaluation["out_of_fold"].items()
    ]
    return _table(lines)


def _checks(answers: Iterable[Answer]) -> str:
    """Every check; those that stand in the way come first."""
    order = ("failed", "not run", "warned", "passed")
    signs = {"failed": "❌", "not run": "❌", "warned": "⚠️", "passed": "✅"}
    lines = [["", "asset", "check", "said"]]
    lines += [
        [f"{signs[a.status]} {a.status}", a.asset + _of(a), a.check, a.said]
        for a in sorted(answers, key=lambda a: order.index(a.status))
    ]
    return _table(lines)


def _table(lines: Sequence[Sequence[str]]) -> str:
    ruled = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    cells = [[" ".join(c.replace("|", "\\|").split()) for c in line] for line in ruled]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
