"""What lands is known by its content, is unpacked within limits, and tells nothing it must not."""

import gzip
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops_assets.lib.personal_data.privacy import Privacy
from mlops_assets.lib.personal_data.pseudonyms import KEY_VARIABLE, pseudonym
from mlops_assets.lib.reading import json_lines
from mlops_assets.lib.reading.landed import Reading, UnreadableError
from mlops_assets.lib.reading.raw_table import MALFORMED, ROW
from mlops_assets.lib.reading.table import Table, read_table, restrict
from tests.lib.helpers import column, contract

CSV = b"name,age\nAnna,63\nBert,64\nbroken\n"
KEY = "sixteen characters and more"


def packed(content: bytes) -> bytes:
    """By gzip, the same bytes at any time: two processes must agree on what the tests are."""
    return gzip.compress(content, mtime=0)


def zstd(content: bytes) -> bytes:
    packed: bytes = pa.Codec("zstd").compress(content).to_pybytes()
    return packed


def read(folder: Path, content: bytes, **options: Any) -> tuple[Table, pl.DataFrame]:
    path = folder / "landed.csv"  # the name says nothing
    path.write_bytes(content)
    table = read_table(path, folder / "raw.parquet", **options)
    return table, pl.read_parquet(folder / "raw.parquet")


@pytest.mark.parametrize("pack", [packed, zstd], ids=["gzip", "zstd"])
def test_a_packed_file_has_the_rows_of_the_plain_one(tmp_path: Path, pack: Any) -> None:
    _, plain = read(tmp_path, CSV)
    table, packed = read(tmp_path, pack(CSV))
    assert packed.equals(plain)
    assert table.compression in ("gzip", "zstd")
    table, lines = read(tmp_path, pack(b'{"name":"Anna","age":63}\n'))
    assert (table.format, lines.rows()) == ("jsonl", [(1, "Anna", "63", None)])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE html><html><body>Log in", "is a web page (HTML), not data"),
        (packed(b"\n<html>"), "is a web page"),
        (b'<?xml version="1.0"?>', "is XML"),
        (b'[{"a": 1}]', "is one JSON array"),
        (b'{\n  "a": 1\n}', "none of its 3 lines is a JSON object"),
        (packed(CSV * 1000)[:-20], "packed with gzip, ends before its end"),
        (zstd(CSV * 1000)[:-5], "packed with zstd, ends before its end"),
        (packed(CSV) + b"rest", "packed with gzip, is damaged"),
        (packed(packed(CSV)), "packed twice"),
        (b"PAR1 and no more", "is a damaged or truncated Parquet file"),
        (packed(b"PAR1"), "is a Parquet file within gzip"),
        (b"PK\x03\x04\x00", "an Excel workbook"),
        (b'{"a":1,"_row":2}\n', "names of the platform: _row"),
    ],
)
def test_what_is_no_table_says_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(UnreadableError) as refused:
        read(tmp_path, content)
    assert str(refused.value).startswith("landed.csv")
    assert said in str(refused.value)


@pytest.mark.parametrize("pack", [packed, zstd], ids=["gzip", "zstd"])
def test_a_bomb_is_refused_while_it_is_read(tmp_path: Path, pack: Any) -> None:
    bomb = pack(b"a,b\n" + b"0,0\n" * 20_000_000)
    with pytest.raises(UnreadableError, match=r"above 20 to 1 \(reading.max_ratio\)"):
        read(tmp_path, bomb, limits=Reading(max_ratio=20))
    with pytest.raises(UnreadableError, match=r"more than 1000 bytes when unpacked"):
        read(tmp_path, bomb, limits=Reading(max_bytes=1000))
    assert not (tmp_path / "raw.parquet").exists()


def test_json_lines_have_the_keys_of_every_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lines, "FIRST_LINES", 2)
    lines = [
        '{"a": 1.50, " b ": " x ", "c": null}',
        '{"a": 12345678901234567890, "b": true}',
        "",
        "not json",
        '{"d": {"e": [1.0, "ü"]}, "a": NaN}',
        '{"a": 1, "a": 2}',
        "[1]",
        '{"a": "\\ud800"}',
        "{}",
        "[" * 100_000,
    ]
    table, rows = read(tmp_path, "\n".join(lines).encode())
    assert table.columns == ["a", "b", "c", "d"]
    assert rows.drop(ROW, MALFORMED).rows()[:4] == [
        ("1.50", "x", None, None),
        ("12345678901234567890", "true", None, None),
        (None, None, None, None),
        ("NaN", None, None, '{"e": [1.0, "ü"]}'),
    ]
    said = [text and text[:60] for text in rows[MALFORMED]]
    assert said[:2] == [None, None]
    assert said[2] == "line 4: not a JSON object: not json"
    assert said[4] == 'line 6: a key is there twice: {"a": 1, "a": 2}'
    assert said[5] == "line 7: not a JSON object: [1]"
    assert str(said[6]).startswith("line 8: half of a surrogate pair")
    assert str(said[7]).startswith("line 10: not a JSON object: [[[")


def test_values_of_a_parquet_file_become_their_usual_text(tmp_path: Path) -> None:
    noon = datetime(2024, 1, 31, 12, 0, tzinfo=UTC)
    values: dict[str, tuple[pa.DataType, Any, str | None]] = {
        "decimal": (pa.decimal128(10, 2), Decimal("1500.50"), "1500.50"),
        "day": (pa.date32(), date(2024, 1, 31), "2024-01-31"),
        "nanoseconds": (
            pa.timestamp("ns"),
            noon.replace(tzinfo=None),
            "2024-01-31 12:00:00.000000",
        ),
        "zoned": (pa.timestamp("us", "Europe/Berlin"), noon, "2024-01-31 12:00:00.000000Z"),
        "coded": (pa.dictionary(pa.int8(), pa.string()), " x ", "x"),
        "large": (pa.large_string(), "y", "y"),
        "flag": (pa.bool_(), True, "true"),
        "real": (pa.float64(), 0.1, "0.1"),
        "bytes": (pa.binary(), b"text", "text"),
        "nested": (pa.list_(pa.int64()), [1, 2], "[1, 2]"),
        "nothing": (pa.null(), None, None),
    }
    made = pa.table({n: pa.array([v, None], kind) for n, (kind, v, _) in values.items()})
    pq.write_table(made, tmp_path / "made")
    table, rows = read(tmp_path, (tmp_path / "made").read_bytes())
    assert (table.format, table.rows, table.delimiter) == ("parquet", 1, "")
    assert rows.drop(ROW, MALFORMED).row(0) == tuple(text for *_, text in values.values())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (pa.array([b"\xff"]), "column 'x' is of type binary, and its bytes are not UTF-8 text"),
        (pa.array([5], pa.duration("s")), "column 'x' is of type duration[s], which is not read"),
    ],
)
def test_a_parquet_column_without_text_is_refused(
    tmp_path: Path, values: pa.Array, said: str
) -> None:
    pq.write_table(pa.table({"x": values}), tmp_path / "made")
    with pytest.raises(UnreadableError) as refused:
        read(tmp_path, (tmp_path / "made").read_bytes())
    assert said in str(refused.value)


PERSONAL = contract(
    column("name", "text", pii="drop"),
    column("mail", "text", pii="hash", nullable=True),
    column("age", "integer"),
)
PEOPLE = {
    "csv": b"name,mail,age,phone,outcome\nAnna, a@b.c ,63,0123,1\nBert,,64,0456,0\nAnna,a@b.c\n",
    "jsonl": b'{"name":"Anna","mail":"a@b.c","age":63,"phone":"0123","outcome":1}\n'
    b'{"name":"Bert","age":64,"phone":"0456","outcome":0}\n{"name":"Anna", broken a@b.c\n',
}


@pytest.mark.parametrize("kind", PEOPLE)
def test_personal_data_are_dropped_or_hashed_before_anything_is_written(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    table, rows = read(tmp_path, PEOPLE[kind], privacy=Privacy.of(PERSONAL))
    assert (table.dropped, table.hashed, table.unknown) == (["name"], ["mail"], 1)
    assert rows.columns == [ROW, "mail", "age", "outcome", MALFORMED]
    assert rows["mail"].to_list() == [pseudonym("a@b.c", KEY), None, None]
    assert rows["age"].to_list() == ["63", "64", None]
    written = json.dumps(rows.to_dicts()) + str(table)
    assert not any(text in written for text in ("Anna", "a@b.c", "0123", KEY))
    assert rows[MALFORMED][2].startswith("line ")


def test_a_key_is_asked_for_only_where_something_is_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(ValueError, match=KEY_VARIABLE):
        Privacy.of(PERSONAL)
    Privacy.of(contract(column("name", "text", pii="drop"), column("age")))


def test_a_header_that_is_a_person_is_not_shown(tmp_path: Path) -> None:
    privacy = Privacy.of(contract(column("name", "text", pii="drop"), column("age")))
    with pytest.raises(UnreadableError) as refused:
        read(tmp_path, b"Anna,Anna,63\nBert,Bert,64\n", privacy=privacy)
    assert "Anna" not in str(refused.value)


def test_what_was_read_before_is_restricted_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    privacy = Privacy.of(PERSONAL)
    _, before = read(tmp_path, PEOPLE["csv"], privacy=privacy)
    read(tmp_path, PEOPLE["csv"])
    restrict(tmp_path / "raw.parquet", tmp_path / "again.parquet", privacy)
    assert pl.read_parquet(tmp_path / "again.parquet").equals(before)
