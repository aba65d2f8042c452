"""The executor of runs: one process a run, which writes down what the run has cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg
import psutil
from dagster._core.executor.in_process import InProcessExecutor

if TYPE_CHECKING:
    from dagster._core.execution.context.system import PlanOrchestrationContext
    from dagster._core.execution.plan.plan import ExecutionPlan

CPU_TAG = "mlops/cpu_seconds"


class MeteredExecutor(InProcessExecutor):
    """Dagster's own, with a tag at the end.

    A run has a process of its own, so the CPU time of that process is the run's: loading the graph
    is part of it, and so is dbt, which is waited for. One that is killed writes nothing.
    """

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Execute the steps, then write down the CPU seconds, whether they have failed or not."""
        try:
            yield from super().execute(plan_context, execution_plan)
        finally:
            used = psutil.Process().cpu_times()
            seconds = used.user + used.system + used.children_user + used.children_system
            tags = {CPU_TAG: f"{seconds:.2f}"}
            plan_context.instance.add_run_tags(plan_context.run_id, tags)


@dg.executor(name="in_process", config_schema=dg.in_process_executor.config_schema.as_field())
def metered_executor(context: dg.InitExecutorContext) -> MeteredExecutor:
    """All steps in the process of the run: they share their imports."""
    make = dg.in_process_executor.executor_creation_fn
    assert make is not None
    plain = make(context)
    assert isinstance(plain, InProcessExecutor)
    return MeteredExecutor(plain.retries, plain.step_dependency_config)
