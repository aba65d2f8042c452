"""The local rollout target: a serving app on this machine that follows the desired state."""

from __future__ import annotations

import time
import urllib.error
from typing import Any

import dagster as dg

from mlops_assets.lib.http import call

POLL_SECONDS = 0.2


class TargetError(Exception):
    """The serving app did not do what the rollout asked for."""


class LocalTarget(dg.ConfigurableResource[Any]):
    """A serving app, reached over HTTP.

    Attributes:
        url: Its address.
        environment: The environment whose desired state it follows.
    """

    url: str
    environment: str

    def model(self, use_case: str) -> dict[str, Any]:
        """What the app serves of a use case (its ``/model``).

        Raises:
            TargetError: If no app answers, or it serves other use cases.
        """
        try:
            model: dict[str, Any] = call(f"{self.url}/model/{use_case}")
        except urllib.error.HTTPError as error:
            raise TargetError(f"the app at {self.url} answered: {_said(error)}") from error
        except OSError:
            raise TargetError(f"no serving app answers at {self.url}") from None
        return model

    def wait_for(self, use_case: str, digest: str, timeout: float) -> float:
        """Wait until the app serves a bundle.

        Args:
            use_case: Whose model.
            digest: Of the bundle.
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
            if model is not None and model["ready"] and model["digest"] == digest:
                return time.monotonic() - start
            if time.monotonic() - start > timeout:
                break
            time.sleep(POLL_SECONDS)
        if model is None:
            raise TargetError(str(missing))
        serves = f"version {model['version']}" if model["digest"] else "nothing"
        raise TargetError(
            f"after {timeout:g} s the app at {self.url} serves {serves} of {use_case}: "
            f"{model['problem'] or 'it has not looked at the desired state yet'}"
        )

    def predict(self, use_case: str, row: dict[str, Any]) -> dict[str, Any]:
        """Ask for one prediction of a use case.

        Raises:
            TargetError: With the app's own words when it does not answer.
        """
        try:
            answer: dict[str, Any] = call(f"{self.url}/predict/{use_case}", row)
        except urllib.error.HTTPError as error:
            raise TargetError(f"/predict answered {error.code}: {_said(error)}") from error
        except OSError as error:
            raise TargetError(f"/predict at {self.url} did not answer: {error}") from error
        return answer


def _said(error: urllib.error.HTTPError) -> str:
    return error.read().decode("utf-8", "replace")[:500]
