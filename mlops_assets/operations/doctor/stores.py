"""The stores: the storage root, the spool before it and Dagster's instance."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from mlops_assets import home
from mlops_assets.instance import has_instance, open_instance
from mlops_assets.lib.spec.specs import load_specs
from mlops_assets.lib.storage.root import Storage
from mlops_assets.operations.doctor.finding import Finding
from serving.storage.bucket import SCHEME

# A file under a temporary name may be at work for so long, and a segment be waited for.
OLD_SECONDS = 600.0
HEARTBEAT_SECONDS = 90.0


def storage() -> Iterator[Finding]:
    """Whether the storage root can be written, and what was left half-written."""
    store = Storage(home.storage_root())
    root, remote = store.root, store.root.startswith(SCHEME)
    if not remote and not Path(root).is_dir():
        yield Finding("storage", "ok", f"{root} is not there yet; it is made when first written to")
        return
    try:
        store.check()
    except OSError as error:
        do = "see docs/operations/storage.md" if remote else "move it to a local disk"
        yield Finding("storage", "fail", str(error), do)
        return
    old = [
        key
        for key in store.leftovers(".")
        if store.exists(key) and time.time() - store.changed(key) > OLD_SECONDS
    ]
    if old:
        said = f"{len(old)} half-written files of killed processes, for example {old[0]}"
        yield Finding("storage", "warn", said, "harmless; `mlops prune` removes them")
    else:
        yield Finding("storage", "ok", f"{root} can be written; nothing half-written")


def spool() -> Iterator[Finding]:
    """Whether predictions wait in the spool of a serving app that is gone, or are damaged."""
    folder = Path(os.environ.get("SERVING_LOG_SPOOL") or home.spool_folder())
    if not folder.is_dir():
        return
    from serving.prediction_log.spool import abandoned, damaged

    if broken := damaged(folder):
        said = (
            f"{len(broken)} segments of the prediction log cannot be read and are in no file of "
            f"it, for example {broken[0]}"
        )
        do = (
            f"each line is a record: mend them and put the file into {broken[0].parent.parent}/"
            "mended, from where a serving app takes it, or remove it"
        )
        yield Finding("spool", "warn", said, do)
    segments = abandoned(folder, OLD_SECONDS)
    if segments:
        said = (
            f"{len(segments)} segments of the prediction log wait for a serving app, for example "
        )
        said += str(segments[0])
        do = (
            f"start one with the spool {folder} and the storage root of before: within a minute "
            "it brings them there; until then nobody sees or erases what they hold"
        )
        yield Finding("spool", "warn", said, do)
    elif not broken:
        yield Finding("spool", "ok", f"no prediction waits in {folder} without a serving app")


def dagster() -> Iterator[Finding]:
    """Runs whose process is gone, and whether the daemon is at work."""
    import dagster as dg
    from alembic.util.exc import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    if not has_instance():
        yield Finding("Dagster", "ok", "no instance yet; the first start makes it")
        return
    try:
        yield _runs()
    except (CommandError, SQLAlchemyError, dg.DagsterInvariantViolationError) as error:
        said = f"its storage does not open: {type(error).__name__}: {error}".splitlines()[0]
        do = (
            "`mlops dev` or `make demo` mends it: a storage that another program left half made, "
            f"and that holds no run, is set aside; else bring {home.home() / 'dagster'} back from "
            "a backup"
        )
        yield Finding("Dagster", "fail", said, do)


def _runs() -> Finding:
    import dagster as dg

    from mlops_assets.launcher import LocalRunLauncher, is_alive, reported_process

    unfinished = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    unfinished += [dg.DagsterRunStatus.CANCELING]
    with open_instance() as instance:
        runs = instance.get_runs(dg.RunsFilter(statuses=unfinished))
        # Of a launcher that starts them elsewhere, a process says nothing here.
        here = runs if isinstance(instance.run_launcher, LocalRunLauncher) else []
        processes = [(run, reported_process(instance, run.run_id)) for run in here]
        stuck = [run for run, process in processes if process and not is_alive(*process)]
        daemons = instance.get_daemon_statuses()
        beats = [s.last_heartbeat.timestamp for s in daemons.values() if s.last_heartbeat]
        # Dagster itself calls a daemon healthy for half an hour after its last sign of life.
        alive = bool(beats) and time.time() - max(beats) < HEARTBEAT_SECONDS
    if stuck:
        named = ", ".join(f"{run.job_name} {run.run_id[:8]}" for run in stuck)
        do = (
            "its daemon ends them within seconds"
            if alive
            else "start Dagster (`make demo` or `make dev`): it ends them and asks for them again"
        )
        return Finding("Dagster", "warn", f"runs whose process is gone: {named}", do)
    state = "its daemon is at work" if alive else "not running"
    return Finding("Dagster", "ok", f"{len(runs)} runs at work, none stuck; {state}")


def automation() -> Iterator[Finding]:
    """Sensors and schedules whose last look failed: what they would have seen, nobody has."""
    from dagster._core.scheduler.instigation import TickStatus

    if not has_instance():
        return
    failed = []
    with open_instance() as instance:
        for state in instance.all_instigator_state():
            ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
            if ticks and ticks[0].status == TickStatus.FAILURE:
                said = ticks[0].error.message.strip() if ticks[0].error else "no reason is known"
                failed.append(f"{state.instigator_name}: {said.splitlines()[-1]}")
    for said in failed:
        yield Finding("automation", "fail", said, "Dagster's page of automations has its traceback")


def alerts() -> Iterator[Finding]:
    """Channels that are none, or do not take what they are sent."""
    from mlops_assets.alerting import book
    from mlops_assets.alerting.channels import channels

    store = Storage(home.storage_root())
    said = channels()[1]
    for name in load_specs():
        resting = book.read(store, name).resting
        said += [f"channel {at} takes no message of {name}: {r.said}" for at, r in resting.items()]
    for problem in said:
        yield Finding("alerts", "warn", problem, "`mlops alerts test` tries every channel")
