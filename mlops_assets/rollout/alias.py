"""Whether MLflow's alias ``champion`` stands where the ledger says.

Nothing follows an alias that somebody moved by hand. It is reported until a person either accepts
it (``mlops promote``, through the gate) or has it put back (the rollout, once more).
"""

from mlops_assets.lib.records.history import Entry, awaiting_rollout, champion
from mlops_assets.resources.mlflow import MlflowTracking


def misplaced(name: str, entries: list[Entry], mlflow: MlflowTracking) -> str | None:
    """What is wrong with the alias, and what to do; None if it is where it belongs.

    Args:
        name: Of the use case.
        entries: Of its ledger.
        mlflow: Knows the alias.
    """
    crowned = champion(entries)
    # A rollout moves the alias before its last line of the ledger.
    if crowned is None or awaiting_rollout(entries) is not None:
        return None
    found = mlflow.champion(name)
    if found == crowned["version"]:
        return None
    stands = f"stands at version {found}" if found else "is gone"
    accept = f"`mlops promote {name} {found}` accepts that if the gate does; " if found else ""
    return (
        f"the alias `champion` {stands} in MLflow, and version {crowned['version']} is the "
        f"champion; nothing follows it. {accept}the job `{name}_deploy` puts it back"
    )
