"""Holds an answer against what it should be: which version answered, and with which score."""

import json
from collections import Counter
from typing import Any, Final

from mlops_assets.load.payloads import Payloads

#: As far apart as training and serving may be; see `serving.bundle.golden`.
TOLERANCE: Final = 1e-5
_MOST_SHOWN: Final = 5


class AnswerCheck:
    """Counts versions and finds wrong answers.

    Attributes:
        versions: How many predictions each version has made.
        wrong: How many predictions were not what they should be.
        examples: The first of them, in words.
        largest_difference: Between a score and the expected one; None where none was compared.
    """

    def __init__(self, payloads: Payloads) -> None:
        """Take what is expected from what is sent."""
        self._rows = payloads.rows
        self._expected = payloads.expected
        self.versions: Counter[str] = Counter()
        self.wrong = 0
        self.examples: list[str] = []
        self.largest_difference: float | None = None

    def answer(self, position: int, body: bytes) -> None:
        """Look at the answer to a body.

        Args:
            position: Of the body among those that are sent.
            body: Of an answer with status 200.
        """
        try:
            predictions = _predictions(json.loads(body))
        except ValueError:
            self._note(f"body {position}: the answer is not JSON: {body[:80]!r}")
            return
        if self._expected and len(predictions) != self._rows:
            self._note(f"body {position}: {len(predictions)} predictions for {self._rows} rows")
            return
        for offset, prediction in enumerate(predictions):
            if isinstance(prediction, dict) and "version" in prediction:
                self.versions[str(prediction["version"])] += 1
            if self._expected:
                self._compare(position * self._rows + offset, prediction)

    def _compare(self, row: int, prediction: Any) -> None:
        try:
            digest, found = str(prediction["digest"]), float(prediction["probability"])
        except (KeyError, TypeError, ValueError):
            self._note(f"row {row}: no digest or probability in {str(prediction)[:80]}")
            return
        if digest not in self._expected:
            self._note(f"row {row}: answered by {digest[:12]}, not served as the test began")
            return
        difference = abs(found - self._expected[digest][row])
        if self.largest_difference is None or not difference <= self.largest_difference:
            self.largest_difference = difference
        if not difference <= TOLERANCE:
            self._note(
                f"row {row}: {digest[:12]} answered {found!r}, expected "
                f"{self._expected[digest][row]!r}"
            )

    def _note(self, what: str) -> None:
        self.wrong += 1
        if len(self.examples) < _MOST_SHOWN:
            self.examples.append(what)


def reason(status: int, body: bytes) -> str:
    """Say in a few words why a request was refused: the status, and the server's own words."""
    try:
        detail = json.loads(body)["detail"]
        if isinstance(detail, list):
            first = detail[0]
            detail = f"{first['type']} at {'.'.join(map(str, first['loc']))}"
    except (ValueError, KeyError, TypeError, IndexError):
        return f"status {status}"
    return f"status {status}: {detail!s:.80}"


def _predictions(answer: Any) -> list[Any]:
    if isinstance(answer, dict) and isinstance(answer.get("predictions"), list):
        answer = answer["predictions"]
    return answer if isinstance(answer, list) else [answer]
