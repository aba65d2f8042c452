"""Every relative link of the documentation leads to a file, and to a heading in it."""

import re
from pathlib import Path

import pytest
import yaml

from tests.deploy.prometheus_rule import PLATFORM_RULES, RULES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _prose(page: Path) -> list[str]:
    """The lines of a page outside of its blocks of code, where a # is no heading."""
    lines, fence = [], ""
    for line in page.read_text(encoding="utf-8").splitlines():
        if found := re.match(r" *(```+|~~~+)", line):
            fence = "" if fence and found[1].startswith(fence) else fence or found[1]
        elif not fence:
            lines.append(line)
    return lines


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to headings; of several alike the later ones have a number."""
    found: dict[str, int] = {}
    anchors: set[str] = set()
    for line in _prose(page):
        if heading := re.match(r"#{1,6} +(.+?) *#*$", line):
            shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            slug = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
            number = found[slug] = found.get(slug, -1) + 1
            anchors.add(f"{slug}-{number}" if number else slug)
    return anchors


def _wrong(target: str, page: Path) -> str | None:
    """What is wrong with a link of a page."""
    path, _, anchor = target.partition("#")
    file = page.parent / path if path else page
    if not file.exists():
        return f"{target}: no such file"
    if anchor and anchor not in _anchors(file):
        return f"{target}: no such heading"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"`[^`]*`", "", "\n".join(_prose(page)))
    targets = re.findall(r"\]\(([^)\s]+)(?: \"[^\"]*\")?\)", text)
    relative = [each for each in targets if not re.match(r"[a-z]+:", each)]
    assert [said for each in relative if (said := _wrong(each, page))] == []


@pytest.mark.parametrize("rules", [RULES, PLATFORM_RULES], ids=["serving", "platform"])
def test_every_alert_names_a_page_for_who_is_on_call(rules: Path) -> None:
    groups = yaml.safe_load(rules.read_text(encoding="utf-8"))["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    assert alerts
    for alert in alerts:
        runbook = alert["annotations"].get("runbook", "")
        assert re.fullmatch(r"docs/\S+\.md#\S+", runbook), alert["alert"]
        assert _wrong(runbook, ROOT / "README.md") is None, alert["alert"]
