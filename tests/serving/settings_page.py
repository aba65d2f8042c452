"""Writes docs/serving-settings.md from the settings themselves; a test finds a page that is old.

python -m tests.serving.settings_page
"""

from pathlib import Path

from serving.settings import CONCERNS
from serving.settings.declared import Setting, settings_of

PAGE = Path(__file__).parents[2] / "docs" / "serving-settings.md"
HEAD = """\
# Settings of the serving app

An option comes before the environment, and the first variable that is set before the others; an
empty one counts as unset. What has no option would be seen in the list of processes. A wrong or
missing setting is one line on standard error and status 2. A variable that begins with `SERVING_`
and is none of these is mistyped: the server does not start with one in the environment
`production`, and warns in any other.

Made by `python -m tests.serving.settings_page`.
"""
COLUMNS = "| option | variable | default | what for |\n| --- | --- | --- | --- |\n"


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for heading, concern in CONCERNS.items():
        rows = "".join(map(_row, settings_of(concern)))
        parts.append(f"## {heading}\n\n{COLUMNS}{rows}")
    return "\n".join(parts)


def _row(setting: Setting) -> str:
    option = f"`{setting.option}`" if setting.option else ""
    variables = ", ".join(f"`{name}`" for name in setting.variables)
    # Markdown would take <name> for HTML.
    purpose = setting.purpose.replace("<", "\\<")
    return f"| {option} | {variables} | {setting.default} | {purpose} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
