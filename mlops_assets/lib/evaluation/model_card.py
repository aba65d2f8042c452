"""The model card: what a version is for, from which rows, how good, and where it is weak.

After Mitchell et al., "Model Cards for Model Reporting", 2019. What a person has to say comes from
the spec, everything else from the records of the version; a section that nobody has filled in is
named by the check ``card``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlops_assets.lib.bundles.robustness import Flips, Steadiness
from mlops_assets.lib.digests import short
from mlops_assets.lib.evaluation.intervals import Interval
from mlops_assets.lib.evaluation.report import calibration_table, gap_text, table
from mlops_assets.lib.evaluation.slices import Gap
from mlops_assets.lib.spec.use_case import UseCase

DECISION = "## Decision"
UNDECIDED = "Not decided yet."
MOST_COLUMNS = 5
# MLflow keeps so much of a description in its database.
MOST_CHARACTERS = 5000
LEFT_OUT = "*The whole card is `card.md` of the version's run; left out here: {}.*\n\n"


@dataclass(frozen=True)
class Facts:
    """What is known of a version.

    Attributes:
        spec: The use case, for what people say of it.
        bundle: Digest of the bundle.
        manifest: Of the bundle, for the lineage.
        evaluation: Record of the evaluation, for the metrics.
        training_set: Record of the training set; ``about`` has its rows and periods.
        steadiness: How steady the bundle answers, or why that is not known.
        entry: The newest decision about the bundle in the ledger.
    """

    spec: UseCase
    bundle: str
    manifest: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    training_set: Mapping[str, Any]
    steadiness: Steadiness | str
    entry: Mapping[str, Any] | None = None


def sections(facts: Facts) -> dict[str, str]:
    """The sections of the card but the decision: Markdown by title, in their order."""
    said = facts.spec.card
    return {
        "Intended use": said.intended_use.strip(),
        "Out-of-scope use": said.out_of_scope.strip(),
        "Model": _model(facts),
        "Data": _data(facts),
        "Metrics": _metrics(facts.evaluation),
        "Slices": _slices(facts.evaluation),
        "Calibration": _calibration(facts),
        "Robustness": _robustness(facts),
        "Limits": said.limits.strip(),
        "Ethical considerations": said.ethics.strip(),
        "Lineage": _lineage(facts),
    }


def empty_sections(facts: Facts) -> list[str]:
    """The titles of the sections that nobody has filled in."""
    return [title for title, text in sections(facts).items() if not text]


def card(facts: Facts) -> str:
    """The card as Markdown, with the decision as far as there is one."""
    parts = [f"# {facts.spec.title}", facts.spec.description.strip()]
    for title, text in sections(facts).items():
        parts.append(f"## {title}\n\n{text or '*Not filled in.*'}")
    return "\n\n".join([*parts, decision_section(facts.entry)]) + "\n"


def decision_section(
    entry: Mapping[str, Any] | None, promoted: Mapping[str, Any] | None = None
) -> str:
    """The last section: what was decided about the version, by whom, when and why.

    Args:
        entry: The entry of the ledger; None before there is one.
        promoted: The entry by which it became champion; None before that.
    """
    if entry is None:
        return f"{DECISION}\n\n{UNDECIDED}"
    lines = [
        f"**{entry['decision'].replace('_', ' ')}** as version {entry['version']} on "
        f"{entry['time'][:19]}Z by "
        f"{entry['actor']} (entry {entry['sequence']} of the ledger, `{short(entry['hash'])}`)."
    ]
    if retrain := entry.get("retrain"):
        lines.append(f"Trained by {retrain['trigger'].replace('_', ' ')}: {retrain['reason']}.")
    if origin := entry.get("origin"):
        lines.append(
            f"Adopted from {origin['environment']} ({origin['root']}), where it is version "
            f"{origin['version']} by entry {origin['entry'].partition(':')[0]} of the ledger there."
        )
    checks = entry.get("checks") or []
    if checks:
        passed = sum(check["status"] == "passed" for check in checks)
        lines.append(f"{passed} of {len(checks)} checks passed.")
    if verdict := entry.get("verdict"):
        lines.append(f"Against the champion: {verdict['said']}.")
    if outvoted := entry.get("outvoted"):
        lines.append(f"A person outvoted the gate, which said: {'; '.join(outvoted)}.")
    if promoted is not None:
        since = f"{promoted['time'][:19]}Z (entry {promoted['sequence']})"
        lines.append(f"Champion in {promoted['environment']} since {since}.")
    reasons = [f"- {reason}" for reason in entry.get("reasons") or []]
    return "\n".join([DECISION, "", " ".join(lines), *([""] if reasons else []), *reasons])


def decided(text: str, entry: Mapping[str, Any], promoted: Mapping[str, Any] | None = None) -> str:
    """A card with another decision in place of the one it has, or at its end."""
    start = text.rfind(f"\n{DECISION}\n")
    kept = text if start < 0 else text[:start]
    return f"{kept.rstrip()}\n\n{decision_section(entry, promoted)}\n"


def shortened(text: str, most: int = MOST_CHARACTERS) -> str:
    """A card that fits into the description of a version in MLflow.

    Sections are left out from the first that does not fit, never the decision, and are named.

    Args:
        text: The card.
        most: Characters.
    """
    if len(text) <= most:
        return text
    head, *parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    decision = parts.pop() if parts and parts[-1].startswith(DECISION) else ""
    titles = ", ".join(part.splitlines()[0].removeprefix("## ") for part in parts)
    room = most - len(head) - len(decision) - len(LEFT_OUT) - len(titles)
    kept = []
    while parts and len(parts[0]) <= room:
        room -= len(parts[0])
        kept.append(parts.pop(0))
    left = ", ".join(part.splitlines()[0].removeprefix("## ") for part in parts)
    # A description or reasons that are longer than all the room are cut.
    return (head + "".join(kept) + LEFT_OUT.format(left) + decision)[:most]


def _model(facts: Facts) -> str:
    lineage, decision = facts.manifest["lineage"], facts.spec.decision
    target = facts.spec.contract.target
    return (
        f"{lineage['algorithm']}, sigmoid-calibrated, as ONNX behind the feature SQL; "
        f"{len(facts.manifest['features'])} features of {len(facts.spec.contract.inputs)} inputs. "
        f"It answers with the probability of *{target.positive_label}* ({target.description}) and "
        f"calls it from {facts.manifest['threshold']:g} upwards: a missed positive costs "
        f"{decision.cost_false_negative:g}, a false alarm {decision.cost_false_positive:g}."
    )


def _data(facts: Facts) -> str:
    lineage, source = facts.manifest["lineage"], facts.training_set
    about = source.get("about", {})
    positives = about.get("positives", {})
    rows = [["side", "rows", "positive"]]
    for side, count in source["rows"].items():
        share = f"{positives[side]} ({positives[side] / count:.1%})" if side in positives else ""
        rows.append([side, str(count), share])
    batches = [["batch", "receipt", "valid rows", "features"]]
    for batch in lineage["batches"]:
        digests = [f"`{short(batch[stage])}`" for stage in ("receipt", "validated", "features")]
        batches.append([f"`{batch['key']}`", *digests])
    periods = []
    if "landed" in about:
        first, last = (moment[:10] for moment in about["landed"])
        periods.append(f"landed {first} to {last}")
    if about.get("events"):
        first, last = (moment[:10] for moment in about["events"])
        periods.append(f"events of {first} to {last}")
    shown = "; ".join(periods) or "periods were not recorded"
    return (
        f"Training set `{short(source['digest'])}`, contract version "
        f"{lineage['contract']['version']}: {shown}.\n\n{table(rows)}\n\n"
        f"Made of (digests):\n\n{table(batches)}"
    )


def _metrics(evaluation: Mapping[str, Any]) -> str:
    lines = [["metric (95 % interval)", "out of fold", "test rows"]]
    for name, score in evaluation["out_of_fold"].items():
        lines.append([name, str(Interval(**score)), str(Interval(**evaluation["test"][name]))])
    return table(lines)


def _slices(evaluation: Mapping[str, Any]) -> str:
    if not evaluation["slices"]:
        return "The spec names no slices (`gate.slices`): how good it is for groups is not known."
    measures = ("roc_auc", "true_positive_rate", "false_positive_rate")
    lines = [["slice", "rows", "positives", *measures]]
    for each in evaluation["slices"]:
        gaps = {
            name: Gap(gap["of_slice"], gap["of_rest"], Interval(**gap["difference"]))
            for name, gap in each["gaps"].items()
        }
        cells = [gap_text(gaps[name]) if name in gaps else "one class only" for name in measures]
        rows = str(each["rows"]) if each["judged"] else f"{each['rows']} (not judged)"
        lines.append([f"{each['column']} = {each['value']}", rows, str(each["positives"]), *cells])
    return (
        "Out of fold; in brackets the gap to the rest of the rows, with an interval that is wide "
        f"enough for all of them at once.\n\n{table(lines)}"
    )


def _calibration(facts: Facts) -> str:
    slope = facts.evaluation["calibration_slope"]
    return calibration_table(
        Interval(**facts.evaluation["out_of_fold"]["calibration_error"]),
        slope and Interval(**slope),
        facts.spec.gate,
    )


def _robustness(facts: Facts) -> str:
    found, limits = facts.steadiness, facts.spec.gate.robustness
    if isinstance(found, str):
        return f"Not measured: {found}"
    noise = "no number moves" if found.noise is None else f"{found.noise} flip"
    return (
        f"Asked again with {found.rows} rows of the training set, a flip being the other class. "
        f"Noise of {limits.noise:.1%} of each deviation: {noise} (limit {limits.noise_flips:.1%})"
        f"{_columns(found.noise_by_column)}. A value not recorded (limit "
        f"{limits.missing_flips:.1%} of the rows that had it)"
        f"{_columns(found.missing) or ': the contract has no nullable column'}."
    )


def _columns(found: list[Flips]) -> str:
    shown = ", ".join(f"{each.column} {each.share.value:.1%}" for each in found[:MOST_COLUMNS])
    return f"; most by {shown}" if shown else ""


def _lineage(facts: Facts) -> str:
    manifest = facts.manifest
    lineage, provenance = manifest["lineage"], manifest["provenance"]
    contract = lineage["contract"]
    named = {
        "bundle": facts.bundle,
        "evaluation": lineage["evaluation"],
        "candidate": lineage["candidate"],
        "training set": lineage["training_set"],
        "recipe (contract, split, search, costs)": lineage["recipe"],
        f"contract version {contract['version']}": contract["digest"],
    }
    lines = [f"- {what}: `{digest}`" for what, digest in named.items()]
    lines.append(f"- MLflow run of the candidate: `{provenance.get('mlflow_run_id')}`")
    lines.append(f"- Dagster run: `{provenance.get('dagster_run_id')}`")
    libraries = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    return "\n".join([*lines, f"- made with {libraries}"])
