"""The place of each column of a sample: an input, an identifier, personal data, or left out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_assets.authoring.columns import Look, bounds
from mlops_assets.authoring.leaks import LEAK, SUSPICIOUS, auc_alone, is_enough
from mlops_assets.authoring.names import in_words, to_name
from mlops_assets.authoring.personal import personal, sounds_personal
from mlops_assets.lib.contract.column import Column

if TYPE_CHECKING:
    from numpy.typing import NDArray

ID_NAME = re.compile(r"(^|_)(id|uuid|guid|key|number|no|nr)$")


@dataclass(frozen=True)
class Drafted:
    """A column of the draft with what a person should know about it."""

    column: Column
    facts: str
    notes: list[str] = field(default_factory=list)


class Sorter:
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
        if sounds_personal(seen):
            notes.append("its name suggests personal data: write `pii: drop` if it says who it is")
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
