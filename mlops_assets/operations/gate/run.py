"""Runs ``ingest`` and ``retrain`` as Dagster would, in this process, without any server."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from mlops_assets import home, instance
from mlops_assets.lib.records import current
from mlops_assets.lib.records.batches import Batches
from mlops_assets.lib.records.history import last_decision
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.operations.gate.champion import bring_champion
from mlops_assets.operations.gate.outcome import Answer, Crash, Outcome, Status
from mlops_assets.operations.gate.reference import land
from mlops_assets.stages import evaluation, registered_version
from mlops_assets.stages.checks import GATE

Say = Callable[[str], None]
# What Dagster raises where a check has stopped a run: the check has said why.
STOPPED_BY_A_CHECK = "DagsterAssetCheckFailedError"
# The metadata of ``registered_version`` that holds it.
CARD = "model card"


def gate(
    spec: UseCase,
    load: Callable[[], dg.Definitions],
    files: Iterable[Path],
    *,
    against: str | None = None,
    data_only: bool = False,
    say: Say = print,
) -> Outcome:
    """Take data to a verdict on the state of ``MLOPS_HOME`` (see ``own_home``).

    Args:
        spec: The use case.
        load: Loads the graph, on that state.
        files: The data; without any, the reference data of the spec.
        against: A storage root whose champion the challenger is held against.
        data_only: Whether to stop before training.
        say: Told what is done.

    Raises:
        MissingDataError: If there are no such data.
        NoChampionError: If ``against`` has none.
    """
    store = Storage(home.storage_root())
    champion = bring_champion(Storage(against), store, spec.name) if against else ""
    batches = Batches(store, spec.name)
    keys = land(spec, batches, files)
    names = [receipt.name for receipt in batches.receipts() if receipt.key in keys]
    outcome = Outcome(spec.name, spec.title, names, data_only, champion)
    try:
        with (
            warnings.catch_warnings(action="ignore", category=dg.BetaWarning),
            dg.DagsterInstance.from_config(str(instance.prepare())) as kept,
        ):
            jobs = _Jobs(spec, load(), kept, outcome)
            kept.add_dynamic_partitions(f"{spec.name}_batches", keys)
            for key in keys:
                say(f"ingesting {key}")
                jobs.run("ingest", key)
            if not (data_only or outcome.stopped_by or outcome.crashes):
                say("training and judging")
                jobs.run("retrain")
                _read_what_was_made(outcome, store, spec)
    except Exception as error:  # whatever it is, the report says so
        outcome.crashes.append(Crash("the gate", _in_words(error)))
    return outcome


@contextmanager
def own_home(folder: Path) -> Iterator[None]:
    """Let this process keep all state in a folder, whatever the environment says of stores.

    Args:
        folder: May be new.
    """
    ours = {"MLOPS_HOME": str(folder.absolute())}
    others = ("MLOPS_STORAGE_ROOT", "MLFLOW_TRACKING_URI")
    before = {name: os.environ.get(name) for name in (*ours, *others)}
    for name in others:
        os.environ.pop(name, None)
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class _Jobs:
    """The jobs of a use case; each adds what it found to the outcome."""

    def __init__(
        self,
        spec: UseCase,
        definitions: dg.Definitions,
        kept: dg.DagsterInstance,
        outcome: Outcome,
    ) -> None:
        self.spec = spec
        self.definitions = definitions
        self.kept = kept
        self.outcome = outcome

    def run(self, verb: str, batch: str = "") -> None:
        name = f"{self.spec.name}_{verb}"
        job = self.definitions.resolve_job_def(name)
        # Check results that stop a version are errors of the log; the rest is in the records.
        quiet = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
        try:
            result = job.execute_in_process(
                instance=self.kept,
                raise_on_error=False,
                run_config=quiet,
                partition_key=batch or None,
            )
        except Exception as error:  # of Dagster itself: no step has failed
            self.outcome.crashes.append(Crash(name, _in_words(error)))
            return
        self.outcome.answers += self._answers(job, result, batch)
        for event in result.get_asset_materialization_events():
            card = event.materialization.metadata.get(CARD)
            self.outcome.card = str(card.value) if card is not None else self.outcome.card
        crashes = [
            Crash(self._path(event.step_key or name), _reason(event))
            for event in result.all_events
            if event.is_step_failure and not _was_stopped(event)
        ]
        if not (result.success or crashes or self.outcome.stopped_by):
            crashes = [Crash(name, "the run failed before its first step")]
        self.outcome.crashes += crashes

    def _answers(
        self, job: dg.JobDefinition, result: dg.ExecuteInProcessResult, batch: str
    ) -> list[Answer]:
        graph = job.asset_layer.asset_graph
        order = {key: place for place, key in enumerate(graph.toposorted_asset_keys)}
        found = {
            answered.asset_check_key: answered for answered in result.get_asset_check_evaluations()
        }
        answers = []
        for key in sorted(graph.asset_check_keys, key=lambda k: (order[k.asset_key], k.name)):
            path = "/".join(key.asset_key.path[1:])
            answered = found.get(key)
            if answered is None:
                answers.append(Answer(path, key.name, batch, "not run", ""))
                continue
            counts = (graph.get_check_spec(key).metadata or {}).get(GATE, True)
            failed: Status = "failed" if counts else "warned"
            status: Status = "passed" if answered.passed else failed
            answers.append(Answer(path, key.name, batch, status, answered.description or ""))
        return answers

    def _path(self, step: str) -> str:
        """An asset's path from the name of its step."""
        return step.removeprefix(f"{self.spec.name}__").replace("__", "/")


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _was_stopped(event: dg.DagsterEvent) -> bool:
    error = event.step_failure_data.error
    return error is not None and error.cls_name == STOPPED_BY_A_CHECK


def _reason(event: dg.DagsterEvent) -> str:
    """What was raised, in its own words."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return str(error.message).strip() if error is not None else "no reason is recorded"


def _read_what_was_made(outcome: Outcome, store: Storage, spec: UseCase) -> None:
    """Add the decision, the evaluation and the model card, as far as they were made."""
    made = current.read(store, spec.name, registered_version.STAGE)
    judged = current.read(store, spec.name, evaluation.STAGE)
    if judged is not None:
        folder = store.local(f"{spec.name}/evaluations/{judged['digest']}")
        outcome.evaluation = judged
        outcome.pictures = sorted(folder.glob("*.png"))
        outcome.tables = {
            path.stem.replace("_", " "): path.read_text(encoding="utf-8")
            for path in sorted(folder.glob("*.md"))
        }
    if made is not None:
        outcome.entry = last_decision(Ledger(store, spec.name).verify(), made["digest"])
