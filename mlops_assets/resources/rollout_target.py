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

    def model(self) -> dict[str, Any] | None:
        """What the app serves (its ``/model``), or None where no app answers."""
        try:
            model: dict[str, Any] = call(f"{self.url}/model")
        except OSError:
            return None
        return model

    def wait_for(self, digest: str, timeout: float) -> float:
        """Wait until the app serves a bundle.

        Args:
            digest: Of the bundle.
            timeout: Seconds.

        Returns:
            The seconds it took.

        Raises:
            TargetError: Saying what the app serves instead, and why.
        """
        start = time.monotonic()
        while True:
            model = self.model()
            if model is not None and model["ready"] and model["digest"] == digest:
                return time.monotonic() - start
            if time.monotonic() - start > timeout:
                break
            time.sleep(POLL_SECONDS)
        if model is None:
            raise TargetError(f"no serving app answers at {self.url}")
        serves = f"version {model['version']}" if model["digest"] else "nothing"
        raise TargetError(
            f"after {timeout:g} s the app at {self.url} serves {serves}: "
            f"{model['problem'] or 'it has not looked at the desired state yet'}"
        )

    def predict(self, row: dict[str, Any]) -> dict[str, Any]:
        """Ask for one prediction.

        Raises:
            TargetError: With the app's own words when it does not answer.
        """
        try:
            answer: dict[str, Any] = call(f"{self.url}/predict", row)
        except urllib.error.HTTPError as error:
            raise TargetError(f"/predict answered {error.code}: {error.read().decode()}") from error
        except OSError as error:
            raise TargetError(f"/predict at {self.url} did not answer: {error}") from error
        return answer
