"""Values and remarks as YAML, SQL and dbt's templates take them."""

import re
from typing import Any

import yaml

WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def as_yaml(value: Any) -> str:
    """A value on one line of YAML; text is always quoted, so that no, 010 and 1.0 stay text."""
    if isinstance(value, list):
        return f"[{', '.join(map(as_yaml, value))}]"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    if isinstance(value, str):
        style = {"default_style": '"', "width": 10**9, "allow_unicode": True}
        return yaml.safe_dump(value, **style).strip()  # type: ignore[call-overload, no-any-return]
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    # 1e-07 is text to YAML, 1.0e-07 is not.
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


def as_name(name: str) -> str:
    """A snake_case name in YAML, quoted only where YAML reads it as something else."""
    return as_yaml(name) if name in WORDS else name


def as_sql(value: Any) -> str:
    """A literal of SQL in a dbt model: the marks of a template are taken apart."""
    if not isinstance(value, str):
        return str(value)
    text = value.replace("'", "''")
    text = re.sub(r"\{(?=[{%#])", "{' || '", text)
    return f"('{text}')" if text != value.replace("'", "''") else f"'{text}'"


def as_remark(text: str) -> str:
    """Text for a comment: one line of what can be printed, and no marks of a template."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return line.replace("{{", "{ {").replace("{%", "{ %").replace("{#", "{ #")
