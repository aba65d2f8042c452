"""From a sample of data to the draft of a use case: what each column is, and which to leave out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops_assets.authoring.columns import look
from mlops_assets.authoring.sample import DraftError, check_given, header_of, outcome_of, read
from mlops_assets.authoring.sorting import Drafted, Sorter
from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.contract.target import Target
from mlops_assets.lib.reading.raw_table import ROW
from mlops_assets.lib.spec.training_plan import Algorithm

# From here on the quicker algorithms are drafted, and shorter searches.
MANY_ROWS = 5_000


@dataclass(frozen=True)
class Draft:
    """A use case before it is written.

    Attributes:
        source: Name of the sample; empty for a template.
        rows: Rows of the sample that were looked at.
        columns: The columns of the contract, identifiers and personal data included.
        left_out: Header and reason of each column that is not in the contract.
        positives: Rows of the positive class.
        missing: Share of rows without a value, by column of the contract.
        duplicates: Share of rows that repeat another one in every column of the contract.
        candidates: The algorithms of the contest.
        trials: Of each search.
        remarks: What a person should know about the sample as a whole.
    """

    name: str
    source: str
    rows: int
    target: Target
    positives: int
    columns: list[Drafted]
    left_out: list[tuple[str, str]]
    entity: str | None
    key: list[str]
    event_time: str | None
    missing: dict[str, float]
    duplicates: float
    candidates: list[Algorithm]
    trials: int
    remarks: list[str]

    @property
    def contract(self) -> Contract:
        """The contract of the draft."""
        return Contract(
            version=1,
            target=self.target,
            columns=[drafted.column for drafted in self.columns],
            entity=self.entity,
            key=self.key,
            event_time=self.event_time,
        )

    @property
    def positive_rate(self) -> float:
        return self.positives / self.rows


def candidates_for(rows: int) -> tuple[list[Algorithm], int]:
    """The algorithms and the trials of a first contest on so many rows."""
    if rows < MANY_ROWS:
        every: list[Algorithm] = ["logistic_regression", "random_forest", "gradient_boosting"]
        return [*every, "xgboost", "stacked_ensemble"], 15
    return ["logistic_regression", "gradient_boosting", "xgboost"], 5


def draft(
    name: str,
    sample: Path,
    target: str,
    *,
    positive: str | None = None,
    entity: str | None = None,
    event_time: str | None = None,
    candidates: Sequence[Algorithm] = (),
) -> Draft:
    """Look at a sample and draft a use case.

    Args:
        name: Of the use case.
        sample: A file as it will land.
        target: Header of the column that is to be predicted.
        positive: The value of the target that counts as positive; the rarer one if left out.
        entity: Header of the column that says whom a row is about.
        event_time: Header of the column with the time at which the row was known.
        candidates: The algorithms of the contest; chosen by the number of rows if left out.

    Raises:
        DraftError: Naming the column, and the row where there is one.
        UnreadableError: If the sample is no table.
    """
    rows, decimal_comma, remarks = read(sample)
    wanted = {"--target": target, "--entity": entity, "--event-time": event_time}
    headers = {option: header_of(option, h, rows.columns) for option, h in wanted.items() if h}
    outcome, values = outcome_of(headers["--target"], rows, positive)
    looks = [
        look(header, rows[header], decimal_comma=decimal_comma)
        for header in rows.columns
        if header not in (ROW, headers["--target"])
    ]
    for option, kind in (("--entity", None), ("--event-time", "timestamp")):
        check_given(option, headers.get(option), looks, rows, kind)
    found = Sorter(outcome.column, values, remarks)
    found.sort(looks, headers.get("--entity"), headers.get("--event-time"))
    if not any(d.column.name not in found.identifying for d in found.columns if not d.column.pii):
        raise DraftError(f"{sample.name}: every column was left out: {_listed(found.left_out)}")
    kept = [d.column.landed_name for d in found.columns if d.column.pii != "drop"]
    repeated = rows.height - rows.select(*kept, headers["--target"]).n_unique()
    chosen, trials = candidates_for(rows.height)
    return Draft(
        name=name,
        source=sample.name,
        rows=rows.height,
        target=outcome,
        positives=int(values.sum()),
        columns=found.columns,
        left_out=found.left_out,
        entity=found.entity,
        key=found.key,
        event_time=found.event_time,
        missing=found.missing,
        duplicates=repeated / rows.height,
        candidates=list(candidates) or chosen,
        trials=trials,
        remarks=remarks,
    )


def _listed(left_out: Iterable[tuple[str, str]]) -> str:
    return "; ".join(f"{header}: {reason}" for header, reason in left_out)
