"""A day of the log as it may lie there: files twice, torn, and damaged where nobody looks first."""

from pathlib import Path

import duckdb

from mlops_assets.lib.drift.answers import read_day

ROWS = 20_000


def write(file: Path, first: int) -> None:
    file.parent.mkdir(exist_ok=True)
    duckdb.sql(
        f"""copy (
            select 'champion' as role, '1' as version, 'aa' as digest,
                'id' || i as prediction_id, hash(i)::double as input__age
            from range({first}, {first + ROWS}) r(i)
        ) to '{file}' (format parquet)"""
    )


def test_an_answer_in_two_files_counts_once(tmp_path: Path) -> None:
    write(tmp_path / "day" / "a.parquet", 0)
    (tmp_path / "day" / "b.parquet").write_bytes((tmp_path / "day" / "a.parquet").read_bytes())
    write(tmp_path / "day" / "c.parquet", ROWS // 2)
    (answers,) = read_day(tmp_path / "day", tmp_path).answers
    assert answers.rows == ROWS + ROWS // 2


def test_a_damaged_column_is_named_and_the_other_files_are_read(tmp_path: Path) -> None:
    write(tmp_path / "day" / "a.parquet", 0)
    write(tmp_path / "day" / "b.parquet", ROWS)
    (tmp_path / "day" / "c.parquet").write_bytes(b"PAR1 torn")
    damaged = tmp_path / "day" / "b.parquet"
    content = bytearray(damaged.read_bytes())
    # The pages of the last column lie right before the footer.
    footer = int.from_bytes(content[-8:-4], "little")
    end = len(content) - 8 - footer
    content[end - ROWS * 4 : end] = b"\xff" * (ROWS * 4)
    damaged.write_bytes(content)
    day = read_day(tmp_path / "day", tmp_path)
    assert sorted(day.unread) == ["b.parquet", "c.parquet"]
    (answers,) = day.answers
    assert answers.rows == ROWS
