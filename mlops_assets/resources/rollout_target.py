"""What a rollout needs of the place where versions serve, and the place on this machine.

A rollout writes the desired state into the storage, whatever the target. A target is told, so that
it can move what does not follow that by itself, and is asked what serves, and how that goes.
"""

from __future__ import annotations

import time
import urllib.error
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from mlops_assets.lib.http import call, content
from mlops_assets.lib.records.history import Entry
from mlops_assets.lib.rollout_analysis.counters import Counters, read

POLL_SECONDS = 0.2

Roles = Mapping[str, Mapping[str, Any]]


class TargetError(Exception):
    """The serving app did not do what the rollout asked for."""


class RolloutTarget(dg.ConfigurableResource[Any], ABC):
    """Where versions are made to serve.

    Attributes:
        url: Where the app answers.
        environment: The environment whose desired state it follows.
    """

    url: str
    environment: str

    def apply(self, use_case: str, roles: Roles, head: str) -> None:
        """Move what does not follow the desired state by itself; called after it was written.

        Nothing here: the app looks at the desired state every second or two.

        Args:
            use_case: Whose model.
            roles: Of the desired state.
            head: Of the ledger by now, as ``lib.records.ledger.head`` gives it.

        Raises:
            TargetError: If it cannot be moved.
        """

    def settle(self, use_case: str, roles: Roles) -> None:
        """Wait until what was moved has come to rest; nothing here, where nothing was.

        Args:
            use_case: Whose model.
            roles: That were applied.

        Raises:
            TargetError: If it does not, and why.
        """

    def deployed(self, use_case: str) -> str | None:
        """Digest of the champion that the app was moved for.

        Args:
            use_case: Whose model.

        Returns:
            Nothing here, where nothing is moved.
        """
        return None

    def drift(self, use_case: str, roles: Roles, entries: Sequence[Entry]) -> str | None:
        """What was moved and is not as the desired state says any more, in a sentence.

        Args:
            use_case: Whose model.
            roles: Of the desired state.
            entries: Of the ledger.

        Returns:
            Nothing here, where nothing is moved.
        """
        return None

    @abstractmethod
    def model(self, use_case: str) -> dict[str, Any]:
        """What the app serves of a use case (its ``/model``).

        Raises:
            TargetError: If no app answers, or it serves other use cases.
        """

    @abstractmethod
    def predict(
        self, use_case: str, row: dict[str, Any], version: str | None = None
    ) -> dict[str, Any]:
        """Ask for one prediction of a use case, by whoever would answer it or by one version.

        Returns:
            At least ``version``, ``digest`` and ``probability``.

        Raises:
            TargetError: With the app's own words when it does not answer.
        """

    @abstractmethod
    def counters(self, use_case: str) -> dict[str, Counters]:
        """What has been counted of a use case, by source (a server, a pod).

        Raises:
            TargetError: If a source does not answer.
        """

    def wait_for(self, use_case: str, roles: Roles, timeout: float) -> float:
        """Wait until the app serves the roles of a desired state, and no others.

        Args:
            use_case: Whose model.
            roles: Of the desired state.
            timeout: Seconds.

        Returns:
            The seconds it took.

        Raises:
            TargetError: Saying what the app serves instead, and why.
        """
        start = time.monotonic()
        while True:
            missing, model = None, None
            try:
                model = self.model(use_case)
            except TargetError as error:
                missing = error
            if model is not None and serves(model, roles):
                return time.monotonic() - start
            if time.monotonic() - start > timeout:
                break
            time.sleep(POLL_SECONDS)
        if model is None:
            raise TargetError(str(missing))
        shown = [f"version {each['version']} as {name}" for name, each in model["roles"].items()]
        raise TargetError(
            f"after {timeout:g} s the app at {self.url} serves {' and '.join(shown) or 'nothing'} "
            f"of {use_case}: {problem(model) or 'it has not looked at the desired state yet'}"
        )


def serves(model: Mapping[str, Any], roles: Roles) -> bool:
    """Whether an app serves the roles of a desired state, and no others.

    Args:
        model: What its ``/model`` says.
        roles: Of the desired state.
    """

    def told(found: Roles) -> dict[str, Any]:
        # A champion answers what is left, whatever its percentage.
        return {
            name: (each["digest"], name == "champion" or each["percent"])
            for name, each in found.items()
        }

    return told(model["roles"]) == told(roles)


def problem(model: Mapping[str, Any]) -> str | None:
    """What the app says is wrong with what it should serve."""
    trials = model.get("on_trial", {}).values()
    said = [model["problem"], *(trial["problem"] for trial in trials)]
    return "; ".join(filter(None, said)) or None


class LocalTarget(RolloutTarget):
    """A serving app, reached over HTTP."""

    def model(self, use_case: str) -> dict[str, Any]:
        """See ``RolloutTarget``."""
        try:
            model: dict[str, Any] = call(f"{self.url}/model/{use_case}")
        except urllib.error.HTTPError as error:
            raise TargetError(f"the app at {self.url} answered: {_said(error)}") from error
        except OSError:
            said = f"no serving app answers at {self.url}"
            raise TargetError(f"{said} (`mlops serve {use_case}` starts one)") from None
        return model

    def predict(
        self, use_case: str, row: dict[str, Any], version: str | None = None
    ) -> dict[str, Any]:
        """See ``RolloutTarget``; one version is asked by the Open Inference Protocol."""
        if version is None:
            answer: dict[str, Any] = self._ask(f"/predict/{use_case}", row)
            return answer
        path = f"/v2/models/{use_case}/versions/{version}"
        types = {tensor["name"]: tensor["datatype"] for tensor in self._ask(path)["inputs"]}
        inputs = [
            {"name": name, "datatype": types[name], "shape": [1], "data": [value]}
            for name, value in row.items()
            if value is not None
        ]
        found = self._ask(f"{path}/infer", {"inputs": inputs})
        data = {each["name"]: each["data"][0] for each in found["outputs"]}
        return {**data, **found["parameters"], "version": found["model_version"]}

    def counters(self, use_case: str) -> dict[str, Counters]:
        """See ``RolloutTarget``; the workers of a server add up what they count."""
        try:
            text = content(f"{self.url}/metrics").decode()
        except OSError as error:
            raise TargetError(f"/metrics at {self.url} did not answer: {error}") from error
        return {self.url: read(text, use_case)}

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        try:
            return call(f"{self.url}{path}", body)
        except urllib.error.HTTPError as error:
            raise TargetError(f"{path} answered {error.code}: {_said(error)}") from error
        except OSError as error:
            raise TargetError(f"{path} at {self.url} did not answer: {error}") from error


def _said(error: urllib.error.HTTPError) -> str:
    return error.read().decode("utf-8", "replace")[:500]
