"""Columns that look like personal data, by their name or by what is in them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlops_assets.authoring.names import to_name

if TYPE_CHECKING:
    from mlops_assets.authoring.columns import Look

NAMES = re.compile(
    r"(^|_)(e_?mail|phone|mobile|telephone|fax|ssn|social_security|passport|iban|credit_card|"
    r"card_number|full_name|first_name|last_name|surname|given_name|family_name|user_?name|"
    r"address|street|birth_?date|date_of_birth|dob|ip_address)(_|$)|^name$"
)
CONTENTS = {
    "e-mail addresses": r"^[^@\s]+@[^@\s]+\.[A-Za-z]{2,}$",
    "phone numbers": r"^(\+\d[\d\s().-]{6,18}|\(?\d{2,5}\)?[\s./-]\d{2,4}[\s.-]\d{2,5})$",
    "bank accounts (IBAN)": r"^[A-Z]{2}\d{2}[A-Z0-9 ]{11,34}$",
    "network addresses": r"^\d{1,3}(\.\d{1,3}){3}$",
}


def personal(column: Look) -> str | None:
    """Why a column looks like personal data, or None."""
    if column.kind in ("text", "timestamp"):
        values = column.texts.drop_nulls()
        for what, pattern in CONTENTS.items():
            share = values.str.contains(pattern).mean()
            if column.kind == "text" and isinstance(share, float) and share >= 0.5:
                return f"{share:.0%} of its values look like {what}"
    # A count of e-mails is no e-mail: only what tells many people apart.
    tells_apart = column.kind in ("text", "timestamp") or (
        column.kind == "integer" and column.distinct > 0.5 * column.texts.len()
    )
    if tells_apart and sounds_personal(column):
        return "its name says so"
    return None


def sounds_personal(column: Look) -> bool:
    """Whether the name of a column suggests personal data, whatever is in it."""
    return NAMES.search(to_name(column.header)) is not None
