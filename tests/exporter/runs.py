"""Runs that take no time, by the executor that real ones have."""

import dagster as dg

from mlops_assets.executor import metered_executor


@dg.op(config_schema={"fails": bool})
def work(context: dg.OpExecutionContext) -> None:
    """Do nothing, or fail."""
    if context.op_config["fails"]:
        raise ValueError("as it was told")


@dg.job(executor_def=metered_executor)
def tiny() -> None:
    """One step."""
    work()


def run_tiny(instance: dg.DagsterInstance, *, fails: bool = False) -> str:
    """Run it on an instance.

    Returns:
        The id of the run.
    """
    config = {"ops": {"work": {"config": {"fails": fails}}}}
    job = dg.reconstructable(tiny)
    with dg.execute_job(job, instance, run_config=config) as result:
        assert result.success is not fails
        return result.run_id
