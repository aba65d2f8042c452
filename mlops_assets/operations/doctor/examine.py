"""``mlops doctor``: looks at everything that can be wrong on one machine, and says what to do.

It changes nothing. Every examination answers by itself, whatever the others find.
"""

from collections.abc import Callable, Iterator

from mlops_assets.operations.doctor import machine, stores, use_cases
from mlops_assets.operations.doctor.finding import Finding
from mlops_assets.operations.doctor.registry import Registry

NEEDS_ROOM = ("dagster", "automation", "mlflow")


def examine() -> list[Finding]:
    """Look at this machine and at the folder of all state."""
    registry = Registry()
    looks: dict[str, Callable[[], Iterator[Finding]]] = {
        "python": machine.python,
        "packages": machine.packages,
        "disk": machine.disk,
        "storage": stores.storage,
        "spool": stores.spool,
        "ports": machine.ports,
        "use cases": lambda: use_cases.use_cases(registry),
        "processes": machine.processes,
        "dagster": stores.dagster,
        "automation": stores.automation,
        "alerts": stores.alerts,
        "mlflow": registry.look,
    }
    found: list[Finding] = []
    if machine.is_full():
        # Their errors would say the same again, and that the databases are broken.
        for about in NEEDS_ROOM:
            del looks[about]
        said = "not looked at: databases do not open on a full disk"
        found.append(Finding(", ".join(NEEDS_ROOM), "warn", said))
    for about, look in looks.items():
        try:
            found += look()
        except Exception as error:  # one that breaks must not hide what the others see
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
