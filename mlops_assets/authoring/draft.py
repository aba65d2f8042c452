"""From a sample of data to the draft of a use case: what each column is, and which to leave out."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.authoring.columns import Look, bounds, look
from mlops_assets.authoring.leaks import LEAK, SUSPICIOUS, auc_alone, is_enough
from mlops_assets.authoring.names import in_words, to_name
from mlops_assets.authoring.personal import personal
from mlops_assets.lib.contract.column import Column, normalise_header
from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.contract.target import Target
from mlops_assets.lib.reading.raw_table import MALFORMED, ROW
from mlops_assets.lib.reading.table import read_table
from mlops_assets.lib.spec.training_plan import Algorithm

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

# Enough to see what a column is.
MOST_ROWS = 200_000
ID_NAME = re.compile(r"(^|_)(id|uuid|guid|key|number|no|nr)$")
# From here on the quicker algorithms are drafted, and shorter searches.
MANY_ROWS = 5_000


class DraftError(ValueError):
    """The sample is none to draft a use case from; the message says why."""


@dataclass(frozen=True)
class Drafted:
    """A column of the draft with what a person should know about it."""

    column: Column
    facts: str
    notes: list[str] = field(default_factory=list)


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
    rows, decimal_comma, remarks = _read(sample)
    wanted = {"--target": target, "--entity": entity, "--event-time": event_time}
    headers = {option: _header(option, h, rows.columns) for option, h in wanted.items() if h}
    outcome, values = _target(headers["--target"], rows, positive)
    looks = [
        look(header, rows[header], decimal_comma=decimal_comma)
        for header in rows.columns
        if header not in (ROW, headers["--target"])
    ]
    for option, kind in (("--entity", None), ("--event-time", "timestamp")):
        _check_given(option, headers.get(option), looks, rows, kind)
    found = _Sorted(outcome.column, values, remarks)
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


def _read(sample: Path) -> tuple[pl.DataFrame, bool, list[str]]:
    """The first rows of a sample as text, and what there is to say about it."""
    import polars as pl

    with tempfile.TemporaryDirectory() as folder:
        table = read_table(sample, Path(folder) / "sample.parquet")
        rows = pl.read_parquet(Path(folder) / "sample.parquet", n_rows=MOST_ROWS)
    remarks = []
    if table.rows > MOST_ROWS:
        remarks.append(f"only the first {MOST_ROWS:,} of {table.rows:,} rows were looked at")
    malformed = rows[MALFORMED].is_not_null().sum()
    if malformed:
        remarks.append(f"{malformed:,} lines do not fit the header, and would go to quarantine")
    rows = rows.filter(pl.col(MALFORMED).is_null()).drop(MALFORMED)
    if rows.is_empty():
        raise DraftError(f"{sample.name} has a header and no rows")
    return rows, table.delimiter != ",", remarks


def _header(option: str, header: str, columns: list[str]) -> str:
    wanted = normalise_header(header)
    if wanted in columns:
        return wanted
    alike = [name for name in columns if to_name(name) == to_name(wanted)]
    if len(alike) == 1:
        return alike[0]
    shown = ", ".join(name for name in columns if name != ROW)
    raise DraftError(f"{option} {header!r} is no column of the sample; there are: {shown}")


def _target(header: str, rows: pl.DataFrame, positive: str | None) -> tuple[Target, NDArray[Any]]:
    """The target with its classes, and 1 or 0 for each row."""
    seen = look(header, rows[header], decimal_comma=False)
    absent = seen.texts.is_null()
    if absent.any():
        first = rows[ROW][absent.arg_true()[0]]
        raise DraftError(
            f"target {header!r} has no value in {absent.sum():,} of {rows.height:,} rows, first in "
            f"row {first}: a row to learn from needs its outcome; leave such rows out of the sample"
        )
    counts = {str(v): int(n) for v, n in seen.texts.value_counts(sort=True, name="n").iter_rows()}
    if len(counts) != 2:
        shown = ", ".join(f"{value!r} ({n:,})" for value, n in list(counts.items())[:5])
        more = f" and {len(counts) - 5:,} more" if len(counts) > 5 else ""
        raise DraftError(
            f"target {header!r} must have two classes and has {len(counts):,}: {shown}{more}"
        )
    # The rarer; of two that are as frequent, the later one: 1 after 0, yes after no.
    chosen = min(counts, key=lambda value: (counts[value], -sorted(counts).index(value)))
    if positive is not None and positive not in counts:
        raise DraftError(
            f"--positive {positive!r} is no value of {header!r}; it has {', '.join(sorted(counts))}"
        )
    chosen = chosen if positive is None else positive
    (other,) = counts.keys() - {chosen}
    whole = all(re.fullmatch(r"[+-]?\d{1,18}", text) and str(int(text)) == text for text in counts)
    name = to_name(header)
    target = Target.model_validate(
        {
            "column": name,
            "header": None if name == header else header,
            "positive": int(chosen) if whole else chosen,
            "negative": int(other) if whole else other,
            "positive_label": "yes" if whole else chosen,
            "negative_label": "no" if whole else other,
            "description": in_words(header),
        }
    )
    return target, (seen.texts == chosen).to_numpy().astype("int64")


def _check_given(
    option: str, header: str | None, looks: list[Look], rows: pl.DataFrame, kind: str | None
) -> None:
    """What a person named must be there in every row."""
    if header is None:
        return
    seen = next((one for one in looks if one.header == header), None)
    if seen is None:
        raise DraftError(f"{option} {header!r} is the target")
    if seen.texts.null_count():
        first = rows[ROW][seen.texts.is_null().arg_true()[0]]
        raise DraftError(f"{option} {header!r} has no value in row {first}")
    if kind is not None and seen.kind != kind:
        raise DraftError(
            f"{option} {header!r} is no column of ISO 8601 times: row {rows[ROW][0]} has "
            f"{seen.texts[0]!r}"
        )


def _listed(left_out: Iterable[tuple[str, str]]) -> str:
    return "; ".join(f"{header}: {reason}" for header, reason in left_out)


class _Sorted:
    """The columns of a sample, sorted into inputs, identifiers, personal data and left out."""

    def __init__(self, taken: str, target: NDArray[Any], remarks: list[str]) -> None:
        self.names = {taken}
        self.target = target
        self.columns: list[Drafted] = []
        self.left_out: list[tuple[str, str]] = []
        self.entity: str | None = None
        self.key: list[str] = []
        self.event_time: str | None = None
        self.missing: dict[str, float] = {}
        self.is_enough = is_enough(target)
        if not self.is_enough:
            remarks.append("too few rows, or of a class, to look for columns that tell the outcome")

    @property
    def identifying(self) -> set[str]:
        return {*self.key, *filter(None, (self.entity, self.event_time))}

    def sort(self, looks: list[Look], entity: str | None, event_time: str | None) -> None:
        """Find the place of each column."""
        for seen in looks:
            if seen.header == event_time:
                self.event_time = self._keep(seen, "timestamp", notes=["when the row was known"])
            elif seen.header == entity:
                pii = "hash" if personal(seen) else None
                self.entity = self._keep_identifier(seen, "whom or what a row is about", pii)
            elif seen.kind == "empty":
                self._leave(seen, "nothing is recorded in any row")
            elif seen.kind == "constant":
                self._leave(seen, f"it is {seen.texts.drop_nulls()[0]!r} wherever it is recorded")
            elif (why := personal(seen)) is not None:
                said = f"personal data ({why}): never written anywhere"
                self._keep(seen, "text", pii="drop", notes=[said])
            elif self._identifies(seen, entity):
                continue
            elif seen.kind in ("text", "timestamp"):
                self._leave(seen, _not_an_input(seen))
            else:
                self._input(seen)

    def _identifies(self, seen: Look, entity: str | None) -> bool:
        named = bool(ID_NAME.search(to_name(seen.header)))
        token = seen.kind == "text" and not seen.texts.str.contains(r"\s").any()
        numbered = seen.kind == "integer" and seen.numbers is not None
        if seen.is_unique and seen.texts.len() >= 20:
            dense = False
            if numbered and seen.numbers is not None:
                low, high = seen.numbers.min(), seen.numbers.max()
                dense = float(high) - float(low) < 1.1 * seen.texts.len()  # type: ignore[arg-type]
            if token or (numbered and (named or dense)):
                if self.key:
                    self._leave(seen, f"another identifier beside {self.key[0]}")
                else:
                    what = "different in every row: proposed as the key, which names a row"
                    self.key = [self._keep_identifier(seen, what)]
                return True
        many = seen.distinct > 30 and not seen.missing
        if named and many and (token or numbered):
            if entity or self.entity:
                self._leave(seen, f"another identifier beside {entity or self.entity}")
            else:
                what = f"{seen.distinct:,} different values: proposed as the entity of a row"
                self.entity = self._keep_identifier(seen, what)
            return True
        return False

    def _input(self, seen: Look) -> None:
        alone = auc_alone(seen, self.target) if self.is_enough else None
        if alone is not None and alone >= LEAK:
            self._leave(
                seen,
                f"it tells the outcome alone (ROC AUC {alone:.3f} on unseen rows): it leaks, or "
                "there is nothing to learn; put it back only if it is known before the outcome",
            )
            return
        notes = list(seen.notes)
        if alone is not None and alone >= SUSPICIOUS:
            notes.append("very good for one column: is it known before the outcome?")
        facts = f"alone: ROC AUC {alone:.2f}" if alone is not None else ""
        self._keep(seen, seen.kind, facts=facts, notes=notes)

    def _keep_identifier(self, seen: Look, what: str, pii: str | None = None) -> str:
        """Keep what identifies a row: an integer as it is, all else as text."""
        if pii:
            what += "; personal data, so a keyed digest stands for it"
        kind = "integer" if seen.kind == "integer" and not pii else "text"
        return self._keep(seen, kind, pii=pii, notes=[what], limits=False)

    def _keep(
        self,
        seen: Look,
        kind: str,
        *,
        pii: str | None = None,
        facts: str = "",
        notes: Iterable[str] = (),
        limits: bool = True,
    ) -> str:
        name = to_name(seen.header, self.names)
        self.names.add(name)
        values: dict[str, Any] = {
            "name": name,
            "header": None if name == seen.header else seen.header,
            "type": kind,
            "pii": pii,
            "nullable": bool(seen.missing),
            "description": in_words(seen.header),
        }
        if seen.missing_values and pii is None:
            values["missing_values"] = seen.missing_values
        spread = ""
        if kind in ("integer", "number") and limits and seen.numbers is not None:
            low, high = bounds(seen.numbers.drop_nulls(), whole=kind == "integer")
            values |= {"minimum": low, "maximum": high}
            least, most = float(seen.numbers.min()), float(seen.numbers.max())  # type: ignore[arg-type]
            spread = f"{least:g} to {most:g}"
            median = seen.numbers.drop_nulls().quantile(0.5, "nearest")
            assert median is not None
            values["example"] = int(median) if kind == "integer" else float(median)
        elif kind == "category":
            values |= _category(seen)
        elif kind == "boolean":
            values["example"] = True
        missing = f"{seen.missing:.1%} missing" if seen.missing else ""
        parts = [part for part in (spread, missing, facts) if part]
        self.missing[name] = seen.missing
        self.columns.append(
            Drafted(Column.model_validate(values), "; ".join(parts), [n for n in notes if n])
        )
        return name

    def _leave(self, seen: Look, reason: str) -> None:
        self.left_out.append((seen.header, reason))


def _category(seen: Look) -> dict[str, Any]:
    """The allowed values, the most frequent as the example."""
    if seen.numbers is not None:
        codes = seen.numbers.drop_nulls().cast(int)
        return {"allowed": sorted(set(codes)), "example": codes.mode().sort()[0]}
    present = seen.texts.drop_nulls()
    return {"allowed": sorted(set(present)), "example": present.mode().sort()[0]}


def _not_an_input(seen: Look) -> str:
    if seen.kind == "timestamp":
        return "a time: name it with --event-time if the row was known then"
    said = f"text with {seen.distinct:,} different values: no category"
    return "; ".join([said, *seen.notes])
