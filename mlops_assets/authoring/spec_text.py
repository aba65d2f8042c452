"""The draft of ``defs.yaml``: readable, commented, and loaded by the spec as it is."""

import math
from collections.abc import Iterator

from mlops_assets.authoring.draft import Draft
from mlops_assets.authoring.names import in_words
from mlops_assets.authoring.quoting import as_name, as_remark, as_yaml
from mlops_assets.authoring.sorting import Drafted
from mlops_assets.lib.spec.spec_file import COMPONENT

USUAL_MISSING_LIMIT = 0.5


def spec_text(draft: Draft) -> str:
    """The text of ``defs.yaml``."""
    parts = (_head, _contract, _limits, _training, _card)
    return "\n".join([*(line for part in parts for line in part(draft)), ""])


def _head(draft: Draft) -> Iterator[str]:
    yield f"type: {COMPONENT}"
    yield ""
    if draft.source:
        source = as_remark(draft.source)
        yield f"# Drafted from {source}: {draft.rows:,} rows. Read it as a proposal."
    else:
        yield "# A template: the columns are made up, and yours go in their place."
    for remark in draft.remarks:
        yield f"# - {as_remark(remark)}"
    yield "attributes:"
    yield f"  name: {draft.name}"
    outcome = in_words(draft.target.header or draft.target.column).rstrip(".")
    yield f"  title: {as_yaml(f'{outcome}: {draft.target.positive} or {draft.target.negative}?')}"
    yield "  # What is predicted, and from which data. It opens the model card."
    yield f"  description: {as_yaml(f'What this model is for is still to be said. {outcome}.')}"
    yield "  # Who answers for it: e-mail addresses or team:name."
    yield '  owners: ["team:owners"]'
    yield ""


def _contract(draft: Draft) -> Iterator[str]:
    target = draft.target
    yield "  contract:"
    yield "    version: 1"
    yield "    target:"
    yield f"      column: {target.column}"
    if target.header is not None:
        yield f"      header: {as_yaml(target.header)}"
    if draft.source:
        share = f"{draft.positives:,} of {draft.rows:,} rows, {draft.positive_rate:.1%}"
        yield f"      # Positive in the sample: {share}."
    for field in ("positive", "negative", "positive_label", "negative_label", "description"):
        yield f"      {field}: {as_yaml(getattr(target, field))}"
    if draft.entity is not None:
        yield "    # Rows of one entity stay on one side of the split."
        yield f"    entity: {draft.entity}"
    if draft.key:
        yield "    # A row that repeats a key is the same row: a later batch replaces it."
        yield f"    key: [{', '.join(draft.key)}]"
    if draft.event_time is not None:
        yield f"    event_time: {draft.event_time}"
    if draft.left_out:
        yield "    # Columns of the sample that are not in the contract:"
        for header, reason in draft.left_out:
            yield f"    # - {as_remark(header)}: {as_remark(reason)}"
    yield "    columns:"
    for drafted in draft.columns:
        yield from _column(drafted)
    yield ""


def _column(drafted: Drafted) -> Iterator[str]:
    column = drafted.column
    yield f"      - name: {as_name(column.name)}"
    if column.header is not None:
        yield f"        header: {as_yaml(column.header)}"
    yield f"        type: {column.type}"
    if column.pii:
        yield f"        pii: {column.pii}"
    for note in drafted.notes:
        yield f"        # {as_remark(note)}"
    if drafted.facts:
        yield f"        # In the sample: {as_remark(drafted.facts)}."
    if column.unit is not None:
        yield f"        unit: {as_yaml(column.unit)}"
    for field in ("minimum", "maximum", "allowed"):
        value = getattr(column, field)
        if value is not None:
            yield f"        {field}: {as_yaml(value)}"
    if column.nullable:
        yield "        nullable: true"
    if column.missing_values:
        yield f"        missing_values: {as_yaml(column.missing_values)}"
    if column.example is not None:
        yield f"        example: {as_yaml(column.example)}"
    yield f"        description: {as_yaml(column.description)}"


def _up(share: float) -> float:
    """A share rounded up to whole percents, at most 1."""
    return min(math.ceil(share * 100) / 100, 1.0)


def _limits(draft: Draft) -> Iterator[str]:
    yield "  # Above `warn` a batch is pointed at, above `block` it is refused. Wide, for a start:"
    yield "  # tighten them when a few batches have landed."
    yield "  quality:"
    yield "    quarantined: {warn: 0.01, block: 0.2}"
    warn = _up(1.5 * draft.duplicates)
    yield f"    duplicates: {{warn: {warn:g}, block: {max(_up(2 * warn), 0.2):g}}}"
    yield f"    missing: {{warn: 0.05, block: {USUAL_MISSING_LIMIT}}}"
    inputs = {column.name for column in draft.contract.inputs}
    often = {n: s for n, s in draft.missing.items() if s > 0.03 and n in inputs}
    if often:
        yield "    missing_by_column:"
    for name, share in often.items():
        warn = _up(1.5 * share)
        yield f"      {as_name(name)}: {{warn: {warn:g}, block: {max(_up(2 * warn), 0.5):g}}}"
    low = math.floor(draft.positive_rate * 50) / 100
    high = _up(1 - (1 - draft.positive_rate) / 2)
    yield f"    positive_rate: [{low:g}, {high:g}]"
    yield ""


def _training(draft: Draft) -> Iterator[str]:
    rarer = min(draft.positives, draft.rows - draft.positives)
    yield "  split: {test_fraction: 0.2}"
    yield ""
    yield "  training:"
    yield f"    trials: {draft.trials}"
    yield f"    minimum_rows: {max(draft.rows // 4, 20)}"
    yield f"    minimum_positives: {min(max(rarer // 4, 10), 200)}"
    yield "    # There are: logistic_regression, random_forest, gradient_boosting, xgboost, and"
    yield "    # stacked_ensemble, which is made of the others."
    yield "    candidates:"
    for algorithm in draft.candidates:
        yield f"      {algorithm}: {{}}"
    yield ""
    yield "  # What a wrong yes and a wrong no cost, in any unit: they set the threshold."
    yield "  decision: {cost_false_positive: 1, cost_false_negative: 1}"
    yield ""
    yield "  gate:"
    yield "    # Low on purpose: raise it to what the first evaluation shows, less some room."
    yield "    floors: {roc_auc: 0.6}"
    slices = [
        drafted.column.name
        for drafted in draft.columns
        if drafted.column in draft.contract.inputs
        and (drafted.column.type == "boolean" or len(drafted.column.allowed or []) in range(2, 7))
    ]
    if slices:
        shown = f"[{', '.join(map(as_name, slices[:3]))}]"
        yield "    # Groups that the model must not be worse for, such as:"
        yield f"    # slices: {shown}"
    yield ""


def _card(draft: Draft) -> Iterator[str]:
    """What is known of the model without asking anybody, for people to write more in its place."""
    outcome, target = in_words(draft.target.header or draft.target.column), draft.target
    sample = f"{draft.source} ({draft.rows:,} rows)" if draft.source else "columns that are made up"
    yield "  # The model card: the check `card` asks for each of these. What stands here is"
    yield "  # what the sample tells, and no more."
    yield "  card:"
    yield "    # Who asks, about whom, and what is done with the answer?"
    yield "    intended_use: " + as_yaml(
        f"To try a first model of {outcome}: {target.positive} or {target.negative}. Who uses the "
        "answers, and for what, has not been said yet."
    )
    yield "    # What must nobody use it for?"
    yield "    out_of_scope: " + as_yaml(
        "Every decision about people or money, until somebody has said what it is meant for."
    )
    yield "    # Whom do the data stand for, and whom not? From when are they?"
    yield "    limits: " + as_yaml(
        f"Drafted from {sample}. Where the rows come from, and whom they do not stand for, has not "
        "been said yet."
    )
    yield "    # Whom does a wrong answer harm, and how? What is done about it?"
    yield "    ethics: " + as_yaml(
        "Nobody has looked yet at whom a wrong answer harms, nor at groups (gate.slices)."
    )
