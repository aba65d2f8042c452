"""Why rows break the contract, in words.

pandera judges, lazily, so that every failure of a row is known at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_assets.lib.contract.column import Column
from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.reading.raw_table import MALFORMED
from mlops_assets.lib.validation.result import Reason, Validation
from mlops_assets.lib.validation.values import absent_texts

if TYPE_CHECKING:
    import polars as pl


def broken_rows(
    contract: Contract, text: pl.DataFrame, typed: pl.DataFrame, result: Validation
) -> dict[int, list[Reason]]:
    """Every reason for which rows break the contract, by the index of the row."""
    reasons = {
        index: [Reason("malformed line", text[MALFORMED][index])]
        for index in text[MALFORMED].is_not_null().arg_true()
    }
    malformed = set(reasons)
    unreadable: set[tuple[int, str]] = set()
    for column in contract.every_column:
        landed = text[column.landed_name]
        numeric_missing = {float(v) for v in column.missing_values if isinstance(v, int | float)}
        unread = typed[column.name].is_null() & landed.is_not_null()
        if unread.any():
            unread &= ~landed.is_in(absent_texts(column))
        for index in unread.arg_true():
            value = landed[index]
            if numeric_missing and _number(value) in numeric_missing:
                continue
            what = column.type if column.allowed is None else "known code"
            said = f"{column.name}: {value[:60]!r} is not a{_n(what)} {what}"
            kind = f"{column.name}: not a{_n(what)} {what}"
            reasons.setdefault(index, []).append(Reason(kind, said))
            unreadable.add((index, column.name))
            if column.allowed is not None:
                result.unknown[column.name] = result.unknown.get(column.name, 0) + 1
    by_name = {column.name: column for column in contract.every_column}
    for name, index, case in _failure_cases(contract, typed):
        if index in malformed or (index, name) in unreadable:
            continue
        kind = f"{name}: {_kind(by_name[name], case)}"
        reasons.setdefault(index, []).append(Reason(kind, by_name[name].broken(case)))
        if case is not None and by_name[name].allowed is not None:
            result.unknown[name] = result.unknown.get(name, 0) + 1
    return reasons


def _kind(column: Column, case: object) -> str:
    """What is wrong with a value that could be read."""
    if case is None:
        return "absent"
    return "outside its range" if column.allowed is None else "not allowed"


def _n(word: str) -> str:
    return "n" if word[0] in "aeiou" else ""


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _failure_cases(contract: Contract, typed: pl.DataFrame) -> list[tuple[str, int, Any]]:
    """Ask pandera: column, row and value of every failure."""
    import pandera.polars as pa
    from pandera.errors import SchemaErrors

    schema = pa.DataFrameSchema(
        {c.name: pa.Column(None, _checks(c), nullable=c.nullable) for c in contract.every_column}
    )
    try:
        schema.validate(typed, lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases
        if cases["index"].null_count():
            raise  # a failure of no row is a mistake of ours, and no row may pass on it
        return [
            (name, index, None if check == "not_nullable" else typed[name][index])
            for name, index, check in cases.select("column", "index", "check").iter_rows()
        ]
    return []


def _checks(column: Column) -> list[Any]:
    import pandera.polars as pa

    checks = []
    if column.minimum is not None:
        checks.append(pa.Check.ge(column.minimum))
    if column.maximum is not None:
        checks.append(pa.Check.le(column.maximum))
    if column.allowed is not None:
        checks.append(pa.Check.isin(column.allowed))
    return checks
