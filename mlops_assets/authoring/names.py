"""Names that a contract and SQL can have, made from what stands in a file."""

import re
import unicodedata
from collections.abc import Collection
from functools import cache

from mlops_assets.lib.contract.column import RESERVED_NAMES, RESERVED_PREFIX

NAME = re.compile(r"[a-z][a-z0-9_]*")
LONGEST = 50
SIGNS = {"<": "under", ">": "over", "%": "percent", "+": "plus"}


def to_name(text: str, taken: Collection[str] = ()) -> str:
    """A snake_case name for a header or a value: ``CustomerID`` becomes ``customer_id``.

    Args:
        text: Anything.
        taken: Names that are in use; a number is added to be different.
    """
    name = text
    if not NAME.fullmatch(text):
        name = slug(text) or "unnamed"
        name = name if name[0].isalpha() else f"n_{name}"
    if name in RESERVED_NAMES or name.startswith(RESERVED_PREFIX):
        name = f"own_{name}"
    name = name[:LONGEST]
    number, free = 2, name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def slug(text: str) -> str:
    """The letters and digits of a text, and its commonest signs in words."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    plain = re.sub(r"^\s*-(?=\.?\d)", "minus_", plain)
    for sign, word in SIGNS.items():
        plain = plain.replace(sign, f" {word} ")
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain)
    return re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")


@cache
def keywords() -> frozenset[str]:
    """Words that are no name in DuckDB's SQL unless they are quoted."""
    import duckdb

    query = "select keyword_name from duckdb_keywords() where keyword_category <> 'unreserved'"
    found = duckdb.execute(query).fetchall()
    return frozenset(str(name) for (name,) in found)


def in_words(header: str) -> str:
    """A header as a description: of ``Total_Charges``, the words ``Total Charges`` and a dot."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", header).replace("_", " ")
    words = " ".join(words.split()).rstrip(".?!") or "No name"
    return f"{words[:1].upper()}{words[1:]}."
