"""Telling how far the loop has come, from the records that every stage leaves in the storage."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlops_assets import home
from mlops_assets.lib.drift import records as drift
from mlops_assets.lib.performance import records as performance
from mlops_assets.lib.performance.floors import KINDS
from mlops_assets.lib.records import current
from mlops_assets.lib.records.batches import Batches
from mlops_assets.lib.records.history import VERDICTS
from mlops_assets.lib.records.ledger import DATA_DECISIONS, Ledger
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage

if TYPE_CHECKING:
    from dagster import DagsterRun

LOOK_SECONDS = 3.0
# Sensors try again within a few looks; on a machine with much else to do it takes them longer.
QUIET_LOOKS = 20


class Progress:
    """Tells each thing once, with the seconds since the start."""

    def __init__(self, store: Storage, spec: UseCase) -> None:
        self.store = store
        self.spec = spec
        self.batches = Batches(store, spec.name)
        self.started = time.monotonic()
        self.told: dict[str, float] = {}
        # What was there before this demo began is not news.
        self.known = {identity for identity, _, _ in self._facts()}
        self.entries_before = len(Ledger(store, spec.name).entries())

    def say(self, sentence: str) -> None:
        """Print one line with the time."""
        print(f"{time.monotonic() - self.started:6.1f} s  {sentence}", flush=True)

    def tell(self) -> None:
        """Say what is new."""
        for identity, step, sentence in self._facts():
            if identity not in self.known:
                self.known.add(identity)
                self.told[step] = time.monotonic() - self.started
                self.say(sentence)

    def table(self) -> None:
        """Print where the time went."""
        if not self.told:
            return
        print("Where the time went")
        last = 0.0
        for step, moment in self.told.items():
            print(f"  {step:<34}{moment - last:6.1f} s")
            last = moment
        now = time.monotonic() - self.started
        print(f"  {'until the last run had ended':<34}{now - last:6.1f} s")
        print(f"  {'all':<34}{now:6.1f} s")

    def problem(self) -> str | None:
        """Why waiting has no point, from the ledger: a rejection, or a rollout taken back."""
        entries = Ledger(self.store, self.spec.name).entries()
        decisions = [entry["decision"] for entry in entries]
        news = entries[self.entries_before :]
        if entries and decisions[-1] == "rejected" and (news or "promoted" not in decisions):
            reasons = "; ".join(entries[-1]["reasons"])
            return f"version {entries[-1]['version']} was rejected: {reasons}"
        aborted = [entry for entry in news if entry["decision"] == "aborted"]
        if len(aborted) >= self.spec.rollout.attempts:
            return f"the rollout was taken back: {'; '.join(aborted[-1]['reasons'])}"
        return None

    def _facts(self) -> Iterator[tuple[str, str, str]]:
        """Everything there is to tell: identity, step, sentence."""
        name = self.spec.name
        for receipt in self.batches.receipts():
            landed = self.batches.pointer(receipt.key, "raw")
            if landed:
                yield (
                    f"raw {receipt.key}",
                    "sensor, run start, raw",
                    f"Raw: {landed['rows']} rows of {receipt.name} are kept as they landed",
                )
            rows = self.batches.pointer(receipt.key, "validated")
            if rows and rows["file"]:
                yield (
                    f"validated {receipt.key}",
                    "validated",
                    f"Validated: {rows['rows']} rows of {receipt.name} keep the contract, "
                    f"{rows['quarantined']} are in quarantine, quality {rows['quality']:g} of 100",
                )
            made = self.batches.pointer(receipt.key, "features")
            if made and made["file"]:
                yield (
                    f"features {receipt.key}",
                    "features (dbt)",
                    f"Features: dbt has built and tested those of {receipt.name}",
                )
            window = drift.read(self.store, name, "batches", receipt.key)
            if window and window["judged"]:
                yield f"drift {receipt.key}", "drift", f"Drift of {receipt.name}: {_drift(window)}"
        yield from self._live()
        yield from self._trained()
        for entry in Ledger(self.store, name).entries():
            if entry["decision"] in DATA_DECISIONS:
                continue
            version = f"version {entry['version']}"
            reasons = "; ".join(entry.get("reasons") or [])
            passed = len(entry.get("checks", []))
            judged = entry["decision"] in VERDICTS and entry.get("verdict")
            verdict = judged["said"] if judged else None
            sentence = {
                "approved": f"Gate: {version} approved, {passed} checks passed",
                "rejected": f"Gate: {version} rejected: {reasons}",
                "pending": f"Gate: {version} waits for a person, {passed} checks passed",
                "expired": f"Gate: {version}: {reasons}",
                "rolling_out": f"Rollout: {version} is about to serve",
                "promoted": f"Rollout: {version} answers and is the champion",
                "aborted": f"Rollout: {version} was taken back: {reasons}",
                "expedited": f"Rollout: {version} leaves its steps out: {reasons}",
                "rolled_back": f"Back to {version}: {reasons}",
            }[entry["decision"]]
            if entry["decision"] in VERDICTS and verdict and verdict not in reasons:
                sentence += f"; {verdict}"
            if (asked := entry.get("retrain")) and asked["trigger"] != "person":
                sentence += f" (trained for {asked['reason']})"
            step = "gate" if entry["decision"] in VERDICTS else "rollout"
            yield f"ledger {entry['sequence']}", step, sentence

    def _live(self) -> Iterator[tuple[str, str, str]]:
        for window in drift.latest(self.store, self.spec.name, "days", 1):
            if window["judged"]:
                said = f"Drift of the answers of {window['window']}: {_drift(window)}"
                yield f"answers {window['input']}", "live drift", said
        for day in performance.latest(self.store, self.spec.name, 1):
            for version in day["versions"]:
                known = [
                    f"{kind} {_interval(version[kind]['accuracy'])}"
                    for kind in KINDS
                    if version[kind] and "accuracy" in version[kind]
                ]
                if known:
                    yield (
                        f"performance {day['input']} {version['version']} {version['role']}",
                        "live performance",
                        f"Performance of version {version['version']} on {day['day']}: accuracy "
                        f"{', '.join(known)}, {version['labelled']} of {version['rows']} labelled",
                    )

    def _trained(self) -> Iterator[tuple[str, str, str]]:
        name = self.spec.name
        training = current.read(self.store, name, "training_set")
        if training:
            rows = training["rows"]
            yield (
                f"training set {training['digest']}",
                "sensor, run start, training set",
                f"Training set: {rows['train']} rows to train on, {rows['test']} to test on",
            )
        for algorithm in self.spec.training.candidates:
            record = current.read(self.store, name, f"candidates/{algorithm}")
            if record:
                auc = _interval(record["out_of_fold"]["roc_auc"])
                yield (
                    f"candidate {record['digest']}",
                    f"candidate {algorithm}",
                    f"Candidate {algorithm}: ROC AUC {auc} out of fold",
                )
        evaluation = current.read(self.store, name, "evaluation")
        if evaluation:
            auc = _interval(evaluation["test"]["roc_auc"])
            yield (
                f"evaluation {evaluation['digest']}",
                "evaluation",
                f"Evaluation: {evaluation['winner']} wins; ROC AUC {auc} on the test rows",
            )
        version = current.read(self.store, name, "registered_version")
        if version:
            yield (
                f"version {version['digest']}",
                "registered version",
                f"Registered as version {version['version']}, bundle {version['digest'][:12]}",
            )


def _drift(window: dict[str, Any]) -> str:
    return f"score {window['score']:.2f}; {window['reason']}" if window["drifted"] else "none"


def _interval(score: dict[str, Any]) -> str:
    return f"{score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f})"


class Runs:
    """The runs of Dagster's instance, looked at every few seconds."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC)
        self.next_look = time.monotonic() + LOOK_SECONDS
        self.quiet = 0

    def _since(self) -> "Sequence[DagsterRun]":
        from dagster import DagsterInstance, RunsFilter

        with DagsterInstance.from_config(str(home.home())) as instance:
            return instance.get_runs(RunsFilter(created_after=self.started))

    def busy(self) -> bool:
        """Whether a run of this demo is not finished."""
        return any(not run.is_finished for run in self._since())

    def problem(self) -> str | None:
        """Why waiting has no point: a run has failed, and nothing tries again."""
        if time.monotonic() < self.next_look:
            return None
        runs = self._since()
        self.next_look = time.monotonic() + LOOK_SECONDS
        failed = [run for run in runs if run.is_failure]
        busy = any(not run.is_finished for run in runs)
        self.quiet = self.quiet + 1 if failed and not busy else 0
        if self.quiet < QUIET_LOOKS:
            return None
        return (
            f"{failed[0].job_name} has failed and is not tried again: "
            f"{home.url('dagster')}/runs/{failed[0].run_id} says why (`make dev` shows it)"
        )
