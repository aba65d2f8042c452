"""Parquet files: named to DuckDB, and written piece by piece."""

from __future__ import annotations

import glob
from pathlib import Path


def literal(path: Path) -> str:
    """A path as DuckDB's readers take it: brackets and stars in it stand for themselves."""
    return glob.escape(str(path))
