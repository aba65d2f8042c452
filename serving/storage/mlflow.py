"""A version of a registered model in MLflow, asked for by its REST API.

MLflow's own package would bring half of the training stack along. What is needed of it are three
requests: which version, where its files are, and the files.
"""

import base64
import json
import logging
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from time import monotonic
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from pydantic import ValidationError

from serving.bundle.manifest import BUNDLE_FILES, MANIFEST, SIGNATURE, BundleError
from serving.roles.desired import CHAMPION, DesiredState, Role
from serving.storage.bucket import StoreError
from serving.storage.origin import Pin
from serving.storage.source import check_size

_ANSWER_SECONDS: Final = 10.0
_LARGEST_ANSWER_BYTES: Final = 4 << 20
_CHUNK_BYTES: Final = 1 << 20
_LONGEST_RETRY_SECONDS: Final = 30.0
# The tag of a version that names the bundle it was registered with.
_DIGEST: Final = "bundle"
_PROXIED: Final = "mlflow-artifacts"

log = logging.getLogger(__name__)


class MlflowVersion:
    """What an alias or a version number names, found out once."""

    def __init__(self, reference: str, tracking_uri: str, digest: str | None, pin: Pin) -> None:
        """Ask nothing yet.

        Args:
            reference: `models:/<name>@<alias>` or `models:/<name>/<version>`.
            tracking_uri: Of the server, http or https. Credentials come from the environment, by
                the names that MLflow's own client reads.
            digest: That the bundle must have, or None for the one that the version's tag names.
            pin: Remembers what was found.
        """
        self._uri = tracking_uri.rstrip("/")
        self.name = f"{reference} at {self._uri}"
        self.identity = self.name
        self._model, mark, self._which = re.split("([@/])", reference.removeprefix("models:/"))
        self._is_alias = mark == "@"
        self._digest = digest
        self._pin = pin
        self._role: Role | None = None
        self._problem: StoreError | BundleError | None = None
        self._retry_at = self._delay = 0.0

    def stamp(self) -> str:
        if self._role is None:
            if self._problem is not None and monotonic() < self._retry_at:
                raise type(self._problem)(str(self._problem))
            try:
                self._role = self._pin.once(self._resolve)
            except (StoreError, BundleError) as error:
                self._problem = error
                self._delay = min(max(2 * self._delay, 1.0), _LONGEST_RETRY_SECONDS)
                self._retry_at = monotonic() + self._delay
                raise
        return self._role.digest

    def read(self) -> DesiredState:
        assert self._role is not None, "stamp comes first"
        return DesiredState({CHAMPION: self._role})

    def where(self, role: Role) -> str:
        return f"{self.name}, {role.bundle}"

    def fetch(self, role: Role, folder: Path) -> None:
        total = 0
        for name in sorted({MANIFEST, *BUNDLE_FILES}):
            total = self._fetch(role, name, folder, total)
        try:
            self._fetch(role, SIGNATURE, folder, total)
        except BundleError:
            # Nobody has signed it; whether that matters is asked when it is loaded.
            (folder / SIGNATURE).unlink(missing_ok=True)

    def _fetch(self, role: Role, name: str, folder: Path, total: int) -> int:
        with self._open(*self._file(role, name)) as answer, (folder / name).open("wb") as file:
            while chunk := answer.read(_CHUNK_BYTES):
                total += len(chunk)
                check_size(self.where(role), total)
                file.write(chunk)
        return total

    def _resolve(self) -> Role:
        """Find the version, its files and its digest."""
        if self._is_alias:
            query = {"name": self._model, "alias": self._which}
            found = self._ask("registered-models/alias", query)
        else:
            query = {"name": self._model, "version": self._which}
            found = self._ask("model-versions/get", query)
        try:
            version = found["model_version"]
            tags = {tag["key"]: tag["value"] for tag in version.get("tags", ())}
            number = str(version["version"])
            files = self._ask(
                "model-versions/get-download-uri", {"name": self._model, "version": number}
            )["artifact_uri"]
        except (KeyError, TypeError) as error:
            raise StoreError(f"{self.name}: not an answer of MLflow: no {error}") from None
        tagged = tags.get(_DIGEST)
        if tagged is None:
            raise BundleError(
                f"{self.name}: version {number} has no tag {_DIGEST!r}: it was registered without "
                "a bundle"
            )
        if self._digest not in (None, tagged):
            raise BundleError(
                f"{self.name}: version {number}: expected digest {self._digest}, found {tagged}"
            )
        try:
            role = Role(version=number, bundle=files, digest=tagged)
        except ValidationError as error:
            first = error.errors()[0]
            raise BundleError(f"{self.name}: version {number}: {first['msg']}") from None
        log.info("found in MLflow", extra={"fields": {"reference": self.name, "version": number}})
        return role

    def _file(self, role: Role, name: str) -> tuple[str, dict[str, str]]:
        """The path and the query by which the server gives a file of a version."""
        place = urlsplit(role.bundle)
        if place.scheme == _PROXIED and not place.netloc:
            path = quote(f"{place.path.strip('/')}/{name}")
            return f"/api/2.0/mlflow-artifacts/artifacts/{path}", {}
        # In a store that the server reaches, and this process need not.
        query = {"name": self._model, "version": role.version, "path": name}
        return "/model-versions/get-artifact", query

    def _ask(self, what: str, query: dict[str, str]) -> Any:
        with self._open(f"/api/2.0/mlflow/{what}", query) as answer:
            content = answer.read(_LARGEST_ANSWER_BYTES)
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise StoreError(f"{self.name}: not an answer of MLflow: no JSON") from None

    @contextmanager
    def _open(self, path: str, query: dict[str, str]) -> Iterator[HTTPResponse]:
        """Ask the server, and say in a line what is wrong if anything is.

        Raises:
            BundleError: There is no such thing.
            StoreError: For everything else.
        """
        request = urllib.request.Request(f"{self._uri}{path}?{urlencode(query)}")
        if credentials := _credentials():
            # Not repeated to where the server sends us on to.
            request.add_unredirected_header("Authorization", credentials)
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:
                yield answer
        except urllib.error.HTTPError as error:
            said = _message(error.read(_LARGEST_ANSWER_BYTES))
            # An alias that nobody has is a bad request to it.
            if error.code in (400, 404):
                raise BundleError(f"{self.name}: not there: {said or path}") from None
            if error.code in (401, 403):
                raise StoreError(
                    f"{self.name}: refuses access ({error.code}): check MLFLOW_TRACKING_USERNAME "
                    "and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
                ) from None
            raise StoreError(f"{self.name}: answered {error.code} {said}".rstrip()) from None
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", None) or str(error) or type(error).__name__
            raise StoreError(f"{self.name}: cannot be reached: {reason}") from None


def _credentials() -> str | None:
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return f"Bearer {token}"
    if user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        pair = f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"
    return None


def _message(content: bytes) -> str:
    try:
        said = json.loads(content)
        return f"{said['error_code']}: {said['message']}"[:200]
    except (ValueError, RecursionError, KeyError, TypeError):
        return ""
