"""A day of the prediction log as windows: the champion's answers, a file for each version.

A file of the log holds one bundle in one role, so each version keeps the types of its own columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlops_assets.lib.drift.sides import connected, parquet
from mlops_assets.lib.records.prediction_log import of_each_file

INPUT, FEATURE = "input__", "feature__"


@dataclass(frozen=True)
class Answers:
    """What one version answered on a day.

    Attributes:
        rows: How many answers.
        file: Parquet of them, one row an answer.
    """

    version: str
    bundle: str
    rows: int
    file: Path


@dataclass(frozen=True)
class Day:
    """A day of the log.

    Attributes:
        answers: By version, the one with the most answers first.
        unread: Files that cannot be read, and why.
    """

    answers: list[Answers]
    unread: dict[str, str]


def read_day(folder: Path, scratch: Path) -> Day:
    """Gather the champion's answers of a day. A file that cannot be read is left out and named.

    Args:
        folder: With the Parquet files of the day.
        scratch: Receives a file for each version.
    """
    by_bundle: dict[tuple[str, str], list[Path]] = {}
    champions = "select distinct digest, version from {file} where role = 'champion'"
    with connected() as database:
        found, unread = of_each_file(database, folder, champions)
        for path, bundles in found.items():
            for bundle, version in bundles:
                by_bundle.setdefault((bundle, version), []).append(path)
        answers = []
        for number, ((bundle, version), paths) in enumerate(sorted(by_bundle.items())):
            file = scratch / f"{number}.parquet"
            quoted = str(file).replace("'", "''")
            row = database.execute(
                f"copy (select * from {parquet(*paths)} where role = 'champion' and digest = ?) "
                f"to '{quoted}' (format parquet)",
                [bundle],
            ).fetchone()
            answers.append(Answers(version, bundle, row[0] if row else 0, file))
    answers.sort(key=lambda found: -found.rows)
    return Day(answers, unread)
