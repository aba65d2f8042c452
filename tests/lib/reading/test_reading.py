import csv
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.lib.reading import delimited, landed
from mlops_assets.lib.reading.landed import UnreadableError
from mlops_assets.lib.reading.raw_table import MALFORMED, REASONS, ROW
from mlops_assets.lib.reading.table import Table, read_table
from tests.lib.helpers import as_csv

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01"
# No halves of surrogate pairs, which no file holds, and no control characters, which no text holds.
CELL = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="".join(map(chr, range(32))))
    | st.sampled_from(['"', ",", ";", "\t", "|", "\n", "\r", "é", " ", "☃"]),
    max_size=6,
)


def read(folder: Path, content: bytes) -> tuple[Table, pl.DataFrame]:
    path = folder / "landed.csv"
    path.write_bytes(content)
    dialect = read_table(path, folder / "raw.parquet")
    table = pl.read_parquet(folder / "raw.parquet")
    assert table.columns == [ROW, *dialect.columns, MALFORMED]
    assert table[ROW].to_list() == list(range(1, dialect.rows + 1))
    return dialect, table


def cells(table: pl.DataFrame) -> list[tuple[str | None, ...]]:
    """The rows without their numbers and without what is malformed."""
    return table.drop(ROW, MALFORMED).rows()


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_any_line_ending_is_read(tmp_path: Path, ending: bytes) -> None:
    _, table = read(tmp_path, ending.join([b"a,b", b"1,2", b"3,4", b""]))
    assert cells(table) == [("1", "2"), ("3", "4")]


def test_last_line_needs_no_ending(tmp_path: Path) -> None:
    _, table = read(tmp_path, b"a,b\n1,2")
    assert cells(table) == [("1", "2")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_found_in_the_header(tmp_path: Path, delimiter: str) -> None:
    # In the row below it, another delimiter is more frequent.
    other = "|" if delimiter == ";" else ";"
    text = f"a{delimiter}b{delimiter}c\n1{delimiter}2{other}{other}{other}2{delimiter}\n"
    dialect, table = read(tmp_path, text.encode())
    assert dialect.delimiter == delimiter
    assert cells(table) == [("1", f"2{other}{other}{other}2", None)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_quoted_delimiters_in_the_header_do_not_count(tmp_path: Path, delimiter: str) -> None:
    dialect, table = read(tmp_path, f'"a,;|,;|,;|"{delimiter}b\n1{delimiter}2\n'.encode())
    assert dialect.delimiter == delimiter
    assert dialect.columns == ["a,;|,;|,;|", "b"]
    assert cells(table) == [("1", "2")]


def test_one_column_needs_no_delimiter(tmp_path: Path) -> None:
    dialect, table = read(tmp_path, b"a\n1\n2\n")
    assert dialect.columns == ["a"]
    assert cells(table) == [("1",), ("2",)]


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        ("utf-8", "utf-8-sig"),
        ("utf-8-sig", "utf-8-sig"),
        ("cp1252", "cp1252"),
        ("latin-1", "cp1252"),
        ("utf-16", "utf-16"),
        ("utf-16-be", "utf-16"),
    ],
)
def test_encoding_is_found(tmp_path: Path, encoding: str, found: str) -> None:
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    dialect, table = read(tmp_path, mark + "größe,b\nÀ café,2\n".encode(encoding))
    assert dialect.encoding == found
    assert dialect.columns == ["größe", "b"]
    assert cells(table) == [("À café", "2")]


def test_euro_sign_of_windows_is_read(tmp_path: Path) -> None:
    _, table = read(tmp_path, "a,b\n5 €,“x”\n".encode("cp1252"))
    assert cells(table) == [("5 €", "“x”")]


def test_encoding_is_judged_by_the_whole_file(tmp_path: Path) -> None:
    dialect, table = read(tmp_path, b"a,b\n" + b"1,2\n" * 50_000 + "3,é\n".encode("cp1252"))
    assert dialect.encoding == "cp1252"
    assert cells(table[-1:]) == [("3", "é")]


def test_quoted_commas_quotes_and_newlines_stay_in_their_cell(tmp_path: Path) -> None:
    _, table = read(tmp_path, b'a,b\n"1,5","say ""hi"""\n"two\nlines",x\n')
    assert cells(table) == [("1,5", 'say "hi"'), ("two\nlines", "x")]


def test_header_may_go_over_two_lines(tmp_path: Path) -> None:
    dialect, table = read(tmp_path, b'"blood\n pressure",b\n1,2\n')
    assert dialect.columns == ["blood pressure", "b"]
    assert cells(table) == [("1", "2")]


def test_cell_is_trimmed_and_an_empty_one_is_absent(tmp_path: Path) -> None:
    _, table = read(tmp_path, b'a,b,c\n 1 ,"",  \n')
    assert cells(table) == [("1", None, None)]


def test_short_and_long_lines_are_kept_with_their_number(tmp_path: Path) -> None:
    _, table = read(tmp_path, b'a,b\n1,2\n"x\ny"\n3,4,"5,5"\n6,7\n')
    assert cells(table) == [("1", "2"), *[(None, None)] * 3, ("6", "7")]
    assert table[MALFORMED].to_list() == [
        None,
        "line 3: 1 fields where the header has 2: x",
        'line 4: 1 fields where the header has 2: "y"""',
        'line 5: 3 fields where the header has 2: 3,4,"5,5"',
        None,
    ]


@pytest.mark.parametrize("bad", [b'"3,4', b'3,"4', b'3,4\n"5'])
def test_quote_that_is_never_closed_swallows_no_later_line(tmp_path: Path, bad: bytes) -> None:
    later = b"".join(b"%d,%d\n" % (n, n) for n in range(10, 30))
    _, table = read(tmp_path, b"a,b\n1,2\n" + bad + b"\n" + later)
    assert table.height == 22 + bad.count(b"\n")
    assert cells(table)[-20:] == [(str(n), str(n)) for n in range(10, 30)]
    assert table[MALFORMED].drop_nulls().len() == (0 if bad == b'3,"4' else 1)


def test_two_stray_quotes_swallow_no_line_between_them(tmp_path: Path) -> None:
    _, table = read(tmp_path, b'a,b\n"1,2\n3,4\n5,6\n"7,8\n9,10\n')
    assert cells(table)[1:3] == [("3", "4"), ("5", "6")]
    assert cells(table)[-1] == ("9", "10")
    said = table[MALFORMED].to_list()
    assert [text and text.split(":")[0] for text in said] == ["line 2", None, None, "line 5", None]


def test_lines_without_any_value_are_skipped(tmp_path: Path) -> None:
    _, table = read(tmp_path, b"\n  \na,b\n\n1,2\n,\n  \n3,4\n\n\n,\n")
    assert cells(table) == [("1", "2"), ("3", "4")]


@pytest.mark.parametrize("content", [b"a,b\n", b"a,b", b"a,b\r\n\r\n", b"\xef\xbb\xbfa,b\n"])
def test_header_alone_gives_no_rows_and_every_column(tmp_path: Path, content: bytes) -> None:
    _, table = read(tmp_path, content)
    assert table.schema == {ROW: pl.Int64, "a": pl.String, "b": pl.String, MALFORMED: pl.String}
    assert table.height == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"landed\.csv is empty \(0 bytes\)"),
        (b" \n\r\n\t", r"is empty \(5 bytes\)"),
        (b"\xef\xbb\xbf", r"is empty \(3 bytes\)"),
        (b"\xef\xbb\xbf\n", "is empty"),
        (b"\xff\xfe", "is empty"),
        ("\n \n".encode("utf-16"), "is empty"),
        (b",,,\n,,,\n", "has no header, only blank cells"),
        (b'""\n', "has no header, only blank cells"),
        (PNG, "is a binary file, not text"),
        (b"PK\x03\x04" + bytes(100), "is a binary file, not text"),
        (b"a,b\n1,\x00\n", "is a binary file, not text"),
        ("a,b\n1,2\n".encode("utf-16-le"), "is a binary file, not text"),
        (b"a,,c\n1,2,3\n", r"a column of the header has no name: \['a', '', 'c'\]"),
        (b",a\n1,2\n", "a column of the header has no name"),
        (b"a,b,a,b\n", "the header names a column twice: a, b"),
        (b'a," a "\n', "the header names a column twice: a"),
        (b"a,_row\n1,2\n", "the header uses names of the platform: _row"),
        (b"_malformed,_reasons\n1,2\n", "names of the platform: _malformed, _reasons"),
        (b"a,b\n1," + b"x" * 140_000 + b"\n", "line 2: field larger than field limit"),
        (b"a,b," + b"c" * 70_000 + b"\n1,2,3\n", "its header does not end within 65536 bytes"),
        (b"x" * 140_000, "its header does not end within 65536 bytes"),
        (b"a,b,c" * 20_000 + b"\n", "its header does not end within 65536 bytes"),
    ],
)
def test_what_is_no_table_is_refused_with_the_reason(
    tmp_path: Path, content: bytes, said: str
) -> None:
    with pytest.raises(UnreadableError, match=said):
        read(tmp_path, content)


def test_file_of_more_rows_than_a_chunk_loses_none(tmp_path: Path) -> None:
    rows = [f"{n},{n * 2},x" if n % 1000 else f"{n},short" for n in range(200_001)]
    _, table = read(tmp_path, "\n".join(["a,b,c", *rows]).encode())
    assert table.height == 200_001
    assert table[MALFORMED].count() == 201
    assert table["a"].drop_nulls().cast(pl.Int64).to_list() == [
        n for n in range(200_001) if n % 1000
    ]
    assert table[MALFORMED][200_000] == "line 200002: 2 fields where the header has 3: 200000,short"


@given(st.lists(st.tuples(CELL, CELL, CELL), max_size=8), st.sampled_from(",;\t|"))
@settings(deadline=None, derandomize=True)
def test_rows_written_by_the_csv_module_come_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], delimiter: str
) -> None:
    content = as_csv([("a", "b", "c"), *rows], delimiter).encode()
    _, table = read(tmp_path_factory.getbasetemp(), content)
    expected = [tuple(cell.strip() or None for cell in row) for row in rows]
    assert cells(table) == [row for row in expected if any(row)]
    assert table[MALFORMED].null_count() == table.height


# What a line may hold that two ways of reading could see differently.
PIECES = st.sampled_from(
    ["a", "é", "\u2003", "\x1c", " ", ",", ",", '"', '""', '"x"', '"y,z"', "\r", "\x00", "1.5"]
)
LINE = st.lists(PIECES, max_size=7).map("".join) | st.sampled_from(
    ["", ",", "1,2,3", '"1",2,"3"', '"x","y,z",', " 1 ,\u2003,2", "a,b", '"1\n2",3,4', '3,"4,5']
)


@given(
    st.lists(LINE, max_size=20),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["a,b,c", '"a","b",c', "\n\na,b,c", "a"]),
    st.sampled_from([32, 200, 1 << 20]),
    st.booleans(),
)
@settings(deadline=None, derandomize=True, max_examples=300)
def test_both_ways_of_reading_write_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[str],
    ending: str,
    header: str,
    block: int,
    last: bool,
) -> None:
    folder = tmp_path_factory.getbasetemp()
    path = folder / "both.csv"
    path.write_bytes((ending.join([header, *lines]) + ending * last).encode())
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landed, "CONTROL", b"")  # deep in a file they are read, whatever they are
        patch.setattr(landed, "BLOCK_BYTES", block)
        for way in ("quick", "careful"):
            if way == "careful":
                patch.setattr(delimited, "plain_block", lambda *_: None)
            table = read_table(path, folder / f"{way}.parquet")
            found[way] = (table, (folder / f"{way}.parquet").read_bytes())
    assert found["quick"] == found["careful"]


@given(st.binary(max_size=200))
@settings(deadline=None, derandomize=True, max_examples=150)
def test_any_bytes_are_a_table_or_refused_with_the_files_name(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    said = ""
    try:
        _, table = read(tmp_path_factory.getbasetemp(), content)
        assert set(table.columns) >= {ROW, MALFORMED}
    except UnreadableError as error:
        said = str(error)
    assert said == "" or said.startswith("landed.csv")


def test_reasons_column_is_named_once() -> None:
    assert len({ROW, MALFORMED, REASONS}) == 3
    assert csv.field_size_limit() == 131_072  # the limit that the refusals above name
