"""The rows of a file of labels: which say something about an answer, and why others do not.

A row that names an entity and a time is about the last answer for that entity before that time. It
is looked up when it lands: from then on a label is a label, wherever it came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.lib.contract.column import normalise_header
from mlops_assets.lib.drift.sides import connected, identifier, parquet
from mlops_assets.lib.parquet import literal
from mlops_assets.lib.personal_data.privacy import Privacy
from mlops_assets.lib.personal_data.pseudonyms import key_from_environment
from mlops_assets.lib.reading.landed import UnreadableError
from mlops_assets.lib.reading.table import read_table
from mlops_assets.lib.records import prediction_log
from mlops_assets.lib.spec.performance import LabelSource
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage

if TYPE_CHECKING:
    import duckdb

# By which somebody's clock may be ahead of this one.
SKEW = timedelta(minutes=5)
PROBE = "select count(prediction_id), count(time), count(entity_id), count(role) from {file}"
NO_ANSWERS = "(select null::varchar prediction_id, null::varchar entity_id, null::timestamp time)"


@dataclass(frozen=True)
class Rows:
    """What became of the rows of a file.

    Attributes:
        good: How many are labels.
        bad: How many are not.
        reasons: How often each reason comes up, the most frequent first.
        labels: Parquet of the good ones, in the columns of the prediction log.
        quarantine: Parquet of the others: file, row (1-based) and reason.
    """

    good: int
    bad: int
    reasons: dict[str, int]
    labels: Path
    quarantine: Path


def read(
    file: Path,
    name: str,
    storage: Storage,
    spec: UseCase,
    labels: LabelSource,
    told: datetime,
    scratch: Path,
) -> Rows:
    """Read a file of labels.

    Args:
        file: CSV, JSON Lines or Parquet.
        name: Under which it landed.
        storage: Where the prediction log is.
        spec: The use case.
        labels: Names the columns.
        told: When the labels count as told, UTC without a time zone. Of two about one answer the
            later observed one counts, then the later row: each is told a microsecond later.
        scratch: Receives the files.

    Raises:
        UnreadableError: If it is no table, or lacks a column.
        ValueError: If entities are hashed and the environment has no key.
    """
    columns = _columns(spec, labels)
    raw = scratch / "raw.parquet"
    landed = read_table(file, raw, spec.reading, _privacy(spec, columns))
    absent = [column for column in columns.values() if column and column not in landed.columns]
    if absent:
        raise UnreadableError(
            f"{name} has no column {', '.join(absent)}, which labels.{labels.name} names"
        )
    with connected() as database:
        database.execute("set TimeZone = 'UTC'")
        _parse(database, raw, columns, spec, told)
        if labels.entity:
            _resolve(database, storage, spec, columns["entity"] or "")
        return _written(database, name, spec, labels, told, scratch)


def _columns(spec: UseCase, labels: LabelSource) -> dict[str, str | None]:
    """The column of the file for each thing that a label says, or None where it does not."""
    named = {
        "label": labels.label or spec.contract.target.as_column().landed_name,
        "id": labels.prediction_id,
        "entity": labels.entity,
        "observed": labels.observed_at,
    }
    return {what: name and normalise_header(name) for what, name in named.items()}


def _privacy(spec: UseCase, columns: dict[str, str | None]) -> Privacy:
    """Nothing but these columns is written, and an entity as the prediction log has it."""
    kept = frozenset(name for name in columns.values() if name)
    entity = next((c for c in spec.contract.columns if c.name == spec.contract.entity), None)
    if columns["entity"] and entity is not None and entity.pii == "hash":
        return Privacy(kept, hashed=frozenset({columns["entity"]}), key=key_from_environment())
    return Privacy(kept)


def _parse(
    database: duckdb.DuckDBPyConnection,
    raw: Path,
    columns: dict[str, str | None],
    spec: UseCase,
    told: datetime,
) -> None:
    """Make the table ``said``: what each row says, and why it says nothing."""
    from serving.prediction_log.streams import class_text

    target = spec.contract.target
    classes: dict[str, str] = {}
    for value, word in (
        (target.negative, target.negative_label),
        (target.positive, target.positive_label),
    ):
        text = class_text(value)
        # As databases and spreadsheets write a whole number.
        classes |= {word: text, text: text}
        classes |= {f"{value}.0": text} if isinstance(value, int) else {}
    database.execute("create temp table classes (text varchar, class varchar)")
    database.executemany("insert into classes values (?, ?)", [*classes.items()])
    both = f"{class_text(target.negative)} or {class_text(target.positive)}"
    texts = {
        what: f"nullif(trim(raw.{identifier(name)}), '')" if name else "null::varchar"
        for what, name in columns.items()
    }
    database.execute(
        f"""create temp table said as
        with texts as (
            select raw._row as row, raw._malformed as malformed, {texts["label"]} as text,
                lower({texts["id"]}) as id, {texts["entity"]} as entity,
                {texts["observed"]} as stated,
                timezone('UTC', try_cast({texts["observed"]} as timestamptz)) as observed
            from read_parquet($raw) raw
        )
        select row, class as label, id, entity, observed, case
            when malformed is not null then malformed
            when text is null then $label || ': a value is required'
            when class is null then $label || ': not ' || $both
            when $id and id is null then $id_name || ': a value is required'
            when $id and not regexp_full_match(id, '[0-9a-f]{{32}}')
                then $id_name || ': no id of an answer, which has 32 hexadecimal characters'
            when not $id and entity is null then $entity_name || ': a value is required'
            when not $id and stated is null then $at_name || ': a value is required'
            when stated is not null and observed is null then $at_name || ': not a time'
            when observed > $latest then $at_name || ': in the future'
        end as reason
        from texts left join classes using (text)""",
        {
            "raw": literal(raw),
            "label": columns["label"],
            "both": both,
            "id": columns["id"] is not None,
            "id_name": columns["id"] or "",
            "entity_name": columns["entity"] or "",
            "at_name": columns["observed"] or "",
            "latest": told + SKEW,
        },
    )


def _resolve(
    database: duckdb.DuckDBPyConnection, storage: Storage, spec: UseCase, name: str
) -> None:
    """Give each row the id of the answer that it is about, or the reason why there is none."""
    horizon = timedelta(days=spec.performance.label_horizon_days)
    span = database.execute(
        "select min(observed), max(observed) from said where reason is null"
    ).fetchone()
    paths: list[Path] = []
    if span and span[0] is not None:
        first, last = (span[0] - horizon).date(), span[1].date()
        for day, key in prediction_log.days(storage, spec.name, "served").items():
            if first <= day <= last:
                found, _ = prediction_log.of_each_file(database, storage.local(key), PROBE)
                paths += found
    served = parquet(*paths) + " where role <> 'shadow'" if paths else NO_ANSWERS
    database.execute(
        f"""create temp table answered as
        select prediction_id, trim(entity_id) as entity, time from (from {served})
        where entity_id is not null"""
    )
    database.execute(
        """create temp table found as
        select said.row, case when answered.time >= said.observed - $horizon
            then answered.prediction_id end as id
        from said asof left join answered
            on said.entity = answered.entity and said.observed >= answered.time
        where said.reason is null""",
        {"horizon": horizon},
    )
    database.execute(
        """update said set id = found.id, reason = case when found.id is null then $reason end
        from found where said.row = found.row""",
        {
            "reason": f"{name}: no answer for it within "
            f"{spec.performance.label_horizon_days:g} days before the time"
        },
    )


def _written(
    database: duckdb.DuckDBPyConnection,
    name: str,
    spec: UseCase,
    labels: LabelSource,
    told: datetime,
    scratch: Path,
) -> Rows:
    good, bad = scratch / "labels.parquet", scratch / "quarantine.parquet"
    database.execute(
        f"""copy (
            select id as prediction_id,
                $told + to_microseconds(row_number() over (order by observed nulls first, row))
                    as time,
                $use_case as use_case, null::varchar as environment, label, $source as source,
                null::varchar as request_id, observed as observed_at,
                left(sha256(concat_ws(chr(31), $use_case, id, label, observed, $source)), 32)
                    as feedback_id
            from said where reason is null order by time
        ) to '{_quoted(good)}' (format parquet, compression zstd)""",
        {"told": told, "use_case": spec.name, "source": labels.name},
    )
    database.execute(
        f"""copy (
            select $name as file, row, reason from said where reason is not null order by row
        ) to '{_quoted(bad)}' (format parquet, compression zstd)""",
        {"name": name},
    )
    reasons = database.execute(
        "select reason, count(*) from said where reason is not null group by all order by 2 desc, 1"
    ).fetchall()
    total = database.execute("select count(*) from said").fetchone()
    assert total is not None
    broken = sum(count for _, count in reasons)
    return Rows(int(total[0]) - broken, broken, dict(reasons), good, bad)


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
