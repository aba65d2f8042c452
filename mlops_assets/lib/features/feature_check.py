"""Does the feature SQL of a use case fit its contract? Asked before anything runs.

The rules are those of the serving app, which would refuse the bundle after hours of training. The
answer is remembered by digest: a process that loads the definitions pays for a hash, not for a
parser.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path

from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.features.dbt_project import PROJECT_DIR, model_name
from mlops_assets.lib.features.feature_sql import INPUT_TABLE
from mlops_assets.lib.spec.spec_file import Document, Mistake, SpecError
from mlops_assets.lib.spec.use_case import UseCase

ROW_ID = "row_id"
# Raised when the rules change.
RULES = 1


def sql_path(use_case: str) -> Path:
    """The file of the feature SQL of a use case."""
    return PROJECT_DIR / "models" / use_case / f"{model_name(use_case)}.sql"


def source_call(use_case: str) -> str:
    """How the feature SQL names the validated rows."""
    return "{{ source('" + use_case + "', 'validated') }}"


def as_plain_sql(use_case: str, raw: str) -> str | None:
    """The text of a features model as SQL over ``input_rows``; None with further templates."""
    sql = raw.replace(source_call(use_case), INPUT_TABLE)
    return None if "{{" in sql or "{%" in sql else sql


def check_features(document: Document, spec: UseCase) -> None:
    """Check the feature SQL against the contract, unless this was done already.

    SQL with other templates than its source is checked when it is compiled, by the bundle.

    Raises:
        SpecError: With every mistake: no SQL at all, a column that is no input, an input that
            nothing uses, or SQL that the serving app would refuse.
    """
    path = sql_path(spec.name)
    if not path.is_file():
        said = f"use case {spec.name!r} has no features model: write {path}"
        raise SpecError([document.mistake(["name"], said)])
    raw = path.read_text(encoding="utf-8")
    sql = as_plain_sql(spec.name, raw)
    if sql is None:
        return
    names = [column.name for column in spec.contract.inputs]
    state = digest_of([RULES, raw, names, spec.gate.slices])
    stamp = PROJECT_DIR / "target" / "checked" / f"{spec.name}.txt"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == state:
        return
    mistakes = list(_mistakes(document, spec, path, sql, names))
    if mistakes:
        raise SpecError(mistakes)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    partial = stamp.with_suffix(f".{uuid.uuid4().hex}")
    partial.write_text(state, encoding="utf-8")
    partial.replace(stamp)


def _mistakes(
    document: Document, spec: UseCase, path: Path, sql: str, names: list[str]
) -> Iterator[Mistake]:
    import sqlglot
    from sqlglot import exp

    from serving.bundle.sql_check import FeatureSqlError, check_sql

    known = {ROW_ID, *names}
    used: set[str] = set()
    try:
        select = sqlglot.parse_one(sql, read="duckdb")
    except sqlglot.errors.ParseError as error:
        first = error.errors[0]
        yield Mistake(path, int(first["line"] or 1), "", f"no SQL: {first['description']}")
        return
    except sqlglot.errors.SqlglotError as error:
        yield Mistake(path, 1, "", f"no SQL: {str(error).splitlines()[0]}")
        return
    if not isinstance(select, exp.Select):
        yield Mistake(path, 1, "", "expected one SELECT")
        return
    aliases = {name.lower() for name in select.named_selects}
    unknown = False
    for column in select.find_all(exp.Column):
        name = column.name.lower()
        used.add(name)
        if name not in known | aliases:
            unknown = True
            kept = {c.name for c in spec.contract.every_column}
            why = (
                "it is no input of the model: it identifies a row, or is the outcome"
                if name in kept
                else "the contract has no such column"
            )
            line = int(column.this.meta.get("line", 1))
            yield Mistake(path, line, column.name, f"{why}; the inputs are {', '.join(names)}")
    if ROW_ID not in used:
        yield Mistake(path, 1, ROW_ID, "must be selected, unchanged: it says which row is which")
    elif not unknown:
        try:
            check_sql(sql, names)
        except FeatureSqlError as error:
            yield Mistake(path, 1, "", str(error).removeprefix("features.sql: "))
    for index, agreed in enumerate(spec.contract.columns):
        if agreed.name in names and agreed.name not in used | set(spec.gate.slices):
            said = f"no feature in {path} uses it, and a request would have to give it"
            yield document.mistake(["contract", "columns", index], said)
