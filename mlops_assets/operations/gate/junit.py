"""The gate's checks as JUnit XML, which CI servers show: a test case a check, a suite an asset."""

import re
from itertools import groupby
from xml.etree import ElementTree

from mlops_assets.operations.gate.outcome import Answer, Outcome

# What XML 1.0 cannot hold, escaped or not.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(outcome: Outcome) -> bytes:
    """Write the document.

    Args:
        outcome: Its checks, in the order of the graph; what raised becomes an error of its own.
    """
    root = ElementTree.Element("testsuites", name=f"gate {outcome.use_case}")
    for asset, answers in groupby(outcome.answers, key=lambda answer: answer.asset):
        suite = _suite(root, f"{outcome.use_case}/{asset}")
        for answer in answers:
            _case(suite, answer)
    if outcome.crashes:
        suite = _suite(root, f"{outcome.use_case}/run")
        for crash in outcome.crashes:
            case = ElementTree.SubElement(
                suite, "testcase", classname=suite.get("name", ""), name=crash.where, time="0"
            )
            _problem(case, "error", crash.said)
    for suite in root:
        for name, path in (
            ("tests", "testcase"),
            ("failures", ".//failure"),
            ("errors", ".//error"),
        ):
            suite.set(name, str(len(suite.findall(path))))
        suite.set("skipped", str(len(suite.findall(".//skipped"))))
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _suite(root: ElementTree.Element, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(root, "testsuite", name=name, time="0")


def _case(suite: ElementTree.Element, answer: Answer) -> None:
    name = f"{answer.check} [{answer.batch}]" if answer.batch else answer.check
    case = ElementTree.SubElement(
        suite, "testcase", classname=suite.get("name", ""), name=name, time="0"
    )
    if answer.status == "failed":
        _problem(case, "failure", answer.said)
    elif answer.status == "not run":
        # Fails closed here as in the gate: a skipped test would look harmless.
        _problem(case, "failure", "it was never asked: the run ended before it")
    elif answer.said:
        said = f"advice: {answer.said}" if answer.status == "warned" else answer.said
        ElementTree.SubElement(case, "system-out").text = _clean(said)


def _problem(case: ElementTree.Element, kind: str, said: str) -> None:
    first = _clean(said).splitlines()[0] if said.strip() else "no reason is recorded"
    ElementTree.SubElement(case, kind, message=first, type=kind).text = _clean(said)


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
