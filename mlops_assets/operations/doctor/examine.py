"""``mlops doctor``: looks at everything that can be wrong on one machine, and says what to do.

It changes nothing. Every examination answers by itself, whatever the others find.
"""

from collections.abc import Callable, Iterator

from mlops_assets.operations.doctor import machine, stores, use_cases
from mlops_assets.operations.doctor.finding import Finding


def examine() -> list[Finding]:
    """Look at this machine and at the folder of all state."""
    looks: list[Callable[[], Iterator[Finding]]] = [
        machine.python,
        machine.packages,
        machine.disk,
        stores.storage,
        stores.spool,
        machine.ports,
        use_cases.use_cases,
        machine.processes,
        stores.dagster,
        stores.automation,
        stores.alerts,
        stores.mlflow,
    ]
    found: list[Finding] = []
    for look in looks:
        try:
            found += look()
        except Exception as error:  # one that breaks must not hide what the others see
            about = look.__name__.replace("_", " ")
            found.append(Finding(about, "fail", f"{type(error).__name__}: {error}"))
    return found


def as_text(findings: list[Finding]) -> str:
    """The findings for a person, with what to do under each."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:<5} {finding.about}: {finding.said}")
        if finding.do:
            lines.append(f"      -> {finding.do}")
    bad = sum(finding.level == "fail" for finding in findings)
    warned = sum(finding.level == "warn" for finding in findings)
    lines.append(f"{bad} failures, {warned} warnings")
    return "\n".join(lines)
