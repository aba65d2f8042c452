"""What a load test sends, and what it must get: rows, and their scores by every version.

A load test that only counts statuses calls a server fast that answers with the wrong model. So the
rows may come with the score that each bundle gives them; an answer is then held against the score
of the very version that it names, also while versions are swapped.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from mlops_assets.lib.http import call

GOLDEN: Final = "golden.parquet"
#: Of a use case, its name comes behind it, as it must where the server has several.
PREDICT: Final = "/predict"


@dataclass(frozen=True)
class Payloads:
    """The bodies that are sent in turn.

    Attributes:
        bodies: JSON texts, at least one.
        rows: How many rows each body holds; its rows follow those of the body before.
        expected: By digest of a bundle, the probability of each row; empty for no check.
    """

    bodies: tuple[bytes, ...]
    rows: int = 1
    expected: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        rows: Sequence[Any],
        batch: int = 1,
        expected: Mapping[str, Sequence[float]] | None = None,
    ) -> "Payloads":
        """Write rows as bodies.

        Args:
            rows: JSON values, at least one.
            batch: How many rows a body holds: one is sent as it is, more are sent as a list.
            expected: By digest of a bundle, the probability of each row.

        Raises:
            ValueError: There are no rows, fewer than a batch, or another number of scores.
        """
        if batch < 1 or len(rows) < batch:
            raise ValueError(f"a request of {batch} rows cannot be made from {len(rows)}")
        for digest, scores in (expected or {}).items():
            if len(scores) != len(rows):
                raise ValueError(f"{digest[:12]}: {len(scores)} scores for {len(rows)} rows")
        if batch == 1:
            parts: list[Any] = list(rows)
        else:
            # Whole batches only: every request costs the same.
            parts = [list(rows[i : i + batch]) for i in range(0, len(rows) - batch + 1, batch)]
        bodies = tuple(json.dumps(part, default=_text).encode() for part in parts)
        return cls(bodies, batch, expected or {})


def read_rows(path: Path) -> list[Any]:
    """Read rows from a file: JSON Lines, one JSON list, or Parquet.

    Raises:
        ValueError: The file holds no rows, or something else. The message names the line.
        OSError: The file cannot be read.
    """
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        rows: list[Any] = pq.read_table(path).to_pylist()
    else:
        text = path.read_text("utf-8")
        rows = _json_list(path, text) if text.lstrip().startswith("[") else _lines(path, text)
    if not rows:
        raise ValueError(f"{path}: no rows")
    return rows


def read_bundles(
    folders: Mapping[str, Path], use_case: str, rows: Sequence[Any] | None = None
) -> tuple[list[Any], dict[str, list[float]]]:
    """Score rows by every bundle that may answer.

    Args:
        folders: By digest, the folder of a bundle, at least one; all of one contract.
        use_case: Whose bundles they are.
        rows: What to send; the golden rows of all bundles without.

    Returns:
        The rows, and by digest the probability of each.

    Raises:
        BundleError: A bundle does not hold, or does not reproduce its golden rows.
        RowError: A row breaks a bundle's contract.
    """
    from serving.bundle.loaded import Bundle

    bundles = [Bundle.load(folder, digest, use_case) for digest, folder in folders.items()]
    if rows is None:
        names = list(bundles[0].contract.duckdb_types)
        rows = [
            {name: row[name] for name in names}
            for folder in folders.values()
            for row in read_rows(folder / GOLDEN)
        ]
    # Through JSON, as the server gets them.
    sent = json.loads(json.dumps(list(rows), default=_text))
    scores = {
        bundle.digest: bundle.predict([bundle.contract.validate_row(row) for row in sent]).tolist()
        for bundle in bundles
    }
    return list(rows), scores


def read_use_cases(url: str, headers: Mapping[str, str], ca: Path | None = None) -> list[str]:
    """Ask a server for the names of its use cases; none where it is not ready, or another one."""
    try:
        found = call(f"{url.rstrip('/')}/health/ready", headers=headers, ca=ca)
        return list(found["use_cases"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def read_example(
    url: str, headers: Mapping[str, str], ca: Path | None = None, path: str = PREDICT
) -> Any:
    """Ask a server for the example row that its OpenAPI document shows.

    Args:
        url: Of the server.
        headers: Sent along.
        ca: A file of certificates to trust in place of the system's.
        path: Where the row is to be sent: of several use cases it names one.

    Raises:
        ValueError: It shows none.
        OSError: It does not answer.
    """
    where = f"{url.rstrip('/')}/openapi.json"
    try:
        document = call(where, headers=headers, ca=ca)
    except OSError as error:
        raise ConnectionError(f"{where} cannot be read: {error}") from None
    try:
        schema = document["components"]["schemas"]["Row"]
        title = f"{path.removeprefix(f'{PREDICT}/')} row"
        (found,) = [s for s in schema.get("anyOf", ()) if s["title"] == title] or [schema]
        return found["example"]
    except (KeyError, TypeError):
        raise ValueError(
            f"{where} shows no example row for {path}: give a file of rows with --rows"
        ) from None


def _json_list(path: Path, text: str) -> list[Any]:
    try:
        rows: list[Any] = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    return rows


def _lines(path: Path, text: str) -> list[Any]:
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path}: line {number} is not JSON: {error}") from None
    return rows


def _text(value: object) -> str:
    if isinstance(value, date | datetime):
        return value.isoformat()
    raise TypeError(f"a {type(value).__name__} cannot be sent as JSON: {value!r:.80}")
