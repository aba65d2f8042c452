import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mlops_assets.lib.sources.inbox import SourceError
from tests.faulty import cutting_proxy
from tests.lib.sources.helpers import Place
from tests.postgres import PASSWORD, Postgres

QUERY = "select id, name, at from people where at > :watermark order by at"


@pytest.fixture
def lite(tmp_path: Path, place: Place) -> sqlite3.Connection:
    place.environment["CRM_URL"] = f"sqlite:///{tmp_path / 'crm.db'}"
    connection = sqlite3.connect(tmp_path / "crm.db", isolation_level=None)
    connection.execute("create table people (id integer, name text, at text)")
    return connection


def add(connection: sqlite3.Connection, first: int, last: int) -> None:
    """People of a second each; three share one."""
    connection.executemany(
        "insert into people values (?, ?, ?)",
        [(i, f"n{i}", f"2024-01-01 00:{i // 180:02}:{i // 3 % 60:02}") for i in range(first, last)],
    )


def crm(**spec: Any) -> dict[str, Any]:
    usual = {"url_env": "CRM_URL", "query": QUERY, "watermark": "at", "start": "2020-01-01"}
    return {"name": "crm", "kind": "database", **usual, **spec}


def ids(place: Place) -> list[int]:
    return sorted(
        int(value) for path in place.landed for value in pq.read_table(path)["id"].to_pylist()
    )


def test_rows_of_sqlite_land_once_and_those_of_one_moment_together(
    place: Place, lite: sqlite3.Connection
) -> None:
    add(lite, 0, 30)
    lite.execute("insert into people values (30, null, '2024-01-01 00:05:00')")
    first = place.fetch(**crm(batch_rows=10))
    assert first.about == {"rows": 31, "watermark": "2024-01-01 00:05:00"}
    assert [pq.read_table(path).num_rows for path in place.landed].count(12) == 2
    assert first.new[0].name == "crm-2020-01-01-2024-01-01-000003.parquet"
    assert ids(place) == list(range(31))
    assert place.fetch(**crm()).new == []
    lite.execute("insert into people values (31, '', '2024-01-01 00:06:00')")
    (landed,) = place.fetch(**crm()).new
    assert landed.name == "crm-2024-01-01-000500-2024-01-01-000600.parquet"
    assert ids(place) == list(range(32))
    lite.close()


@pytest.mark.parametrize(
    ("query", "watermark", "said"),
    [
        (QUERY.replace("order by at", "order by id desc"), "at", "at falls: .* `order by at`"),
        (QUERY.replace(" > ", " >= "), "at", "the query needs `at > :watermark`"),
        (QUERY, "nothing", "gives no column nothing, the watermark; it gives id, name, at"),
        (QUERY.replace("name", "id"), "at", "gives a column twice: id"),
        (QUERY.replace("where", "where at is null or"), "at", "at is NULL in a row"),
        (QUERY.replace("people", "nobody"), "at", "CRM_URL says: no such table: nobody"),
        (QUERY.replace("name", "x'00' as name"), "at", "column name holds bytes"),
    ],
)
def test_a_query_that_would_lose_or_double_rows_is_refused(
    place: Place, lite: sqlite3.Connection, query: str, watermark: str, said: str
) -> None:
    add(lite, 0, 9)
    lite.execute("insert into people values (9, 'n', null)")
    start = "2024-01-01 00:00:00"
    with pytest.raises(SourceError, match=f"source crm: .*{said}"):
        place.fetch(**crm(query=query, watermark=watermark, start=start))
    assert place.landed == []
    lite.close()


# Ends its process before or after the n-th call of a method of the inbox.
KILLED = """
import os, sys
from pathlib import Path
from mlops_assets.lib.sources.inbox import Inbox
from tests.lib.sources.helpers import Place
from tests.lib.sources.test_database import crm

folder, url, method, count, when = sys.argv[1:]
calls, real = [], getattr(Inbox, method)

def killed(*arguments):
    calls.append(1)
    if len(calls) == int(count) and when == "before":
        os._exit(9)
    result = real(*arguments)
    if len(calls) == int(count) and when == "after":
        os._exit(9)
    return result

setattr(Inbox, method, killed)
Place(Path(folder), {"CRM_URL": url}).fetch(**crm(batch_rows=12))
"""


@pytest.mark.parametrize(
    ("method", "count", "when"),
    [("remember", 3, "after"), ("land", 2, "after"), ("remember", 4, "after")],
)
def test_a_kill_loses_and_doubles_nothing_though_rows_arrive_meanwhile(
    place: Place, lite: sqlite3.Connection, method: str, count: int, when: str
) -> None:
    add(lite, 0, 30)
    url, folder = place.environment["CRM_URL"], place.batches.storage.root
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), url, method, str(count), when],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 9, done.stderr
    add(lite, 30, 60)
    place.fetch(**crm(batch_rows=12))
    assert ids(place) == list(range(60))
    lite.close()


def test_a_second_fetch_of_the_same_source_is_kept_away(
    place: Place, lite: sqlite3.Connection
) -> None:
    from mlops_assets.lib.sources.inbox import Inbox

    with Inbox(place.batches, "crm", {}).alone(), pytest.raises(SourceError, match="is at work"):
        place.fetch(**crm())
    assert place.fetch(**crm()).new == []
    lite.close()


def people(postgres: Postgres, table: str, rows: int) -> dict[str, Any]:
    postgres.execute(
        f"create table {table} (id bigint, name text, paid boolean, amount numeric, day date, "
        "tags jsonb, at timestamptz)",
        f"insert into {table} select i, repeat('n', 100), i % 2 = 0, 1.50, '2024-02-03', "
        f"""'["a"]', timestamptz '2024-01-01 02:00+02' + (i / 7) * interval '1 second' """
        f"from generate_series(0, {rows - 1}) i",
    )
    return crm(query=f"select * from {table} where at > :watermark order by at")


def test_rows_of_postgresql_are_text_and_times_are_compared_as_times(
    place: Place, postgres: Postgres
) -> None:
    place.environment["CRM_URL"] = postgres.url()
    spec = people(postgres, "kinds", 50)
    assert place.fetch(**spec).about == {"rows": 50, "watermark": "2024-01-01 00:00:07+00:00"}
    row = pq.read_table(place.landed[0]).slice(0, 1).to_pylist()[0]
    assert row == {
        "id": "0",
        "name": "n" * 100,
        "paid": "true",
        "amount": "1.50",
        "day": "2024-02-03",
        "tags": '["a"]',
        "at": "2024-01-01T00:00:00+00:00",
    }
    assert place.fetch(**spec).new == []
    # A number as a watermark, on a table of its own.
    by_id = "select id, name from kinds where id > :watermark order by id"
    spec = crm(name="other", query=by_id, watermark="id", start=39)
    assert place.fetch(**spec).about == {"rows": 10, "watermark": "49"}
    assert place.fetch(**spec).new == []


def test_a_connection_that_drops_half_way_loses_and_doubles_nothing(
    place: Place, postgres: Postgres
) -> None:
    spec = people(postgres, "dropped", 60_000) | {"batch_rows": 10_000}
    with cutting_proxy(postgres.port, 5_000_000) as port:
        place.environment["CRM_URL"] = postgres.url(port=port)
        with pytest.raises(SourceError, match=r"\d batches have landed; the next fetch") as e:
            place.fetch(**spec)
        landed = len(place.landed)
        assert 0 < landed < 6
        assert f"({landed} batches" in str(e.value)
        postgres.execute("insert into dropped select 60000, '', true, 1, null, null, now()")
        place.fetch(**spec)
    assert ids(place) == list(range(60_001))


def test_wrong_credentials_are_named_and_not_shown(place: Place, postgres: Postgres) -> None:
    spec = crm(query=QUERY)
    with pytest.raises(SourceError, match="the environment variable CRM_URL is not set"):
        place.fetch(**spec)
    for url, said in (
        (postgres.url(password="hunter2/@x"), "CRM_URL says: .*password authentication failed"),
        ("postgresql://tests:hunter2@127.0.0.1:hunter2/x", "CRM_URL is no SQLAlchemy URL"),
        ("postgresql://tests:hunter2@127.0.0.1:1/x", "CRM_URL says: .*refused"),
        ("nosuch://tests:hunter2@127.0.0.1/x", "nosuch"),
        ("sqlite:////no/where/hunter2.db", "CRM_URL names a SQLite file that is not there"),
    ):
        place.environment["CRM_URL"] = url
        with pytest.raises(SourceError, match=f"(?s)source crm: .*{said}") as e:
            place.fetch(**spec)
        assert "hunter2" not in str(e.value)
        assert PASSWORD not in str(e.value)
        assert e.value.__cause__ is None
        assert e.value.__context__ is None
