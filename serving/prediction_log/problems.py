"""What keeps records from moving on: said once when it begins, changes and ends."""

import logging
import traceback

log = logging.getLogger(__name__)


class Problems:
    """The present problem of each part; a part is told to by one thread."""

    def __init__(self) -> None:
        """Start without any."""
        self._found: dict[str, str] = {}

    def tell(self, part: str, problem: str | None) -> None:
        """Note what is wrong with a part, or that nothing is any more."""
        before = self._found.get(part)
        if problem == before:
            return
        fields = {"fields": {"part": part, "problem": problem or before}}
        if problem is None:
            del self._found[part]
            log.info("prediction log moves on", extra=fields)
        else:
            self._found[part] = problem
            log.warning("prediction log is held up", extra=fields)

    def failed(self, part: str, error: Exception, segment: str = "") -> None:
        """Note that a part has failed, and will try again.

        Args:
            part: Its name.
            error: Why.
            segment: The name of the segment that it was at: with another one it is no other news.
        """
        if isinstance(error, OSError):
            where = f": {error.filename}" if error.filename else ""
            said = f"{error.strerror or error}{where}"
            self.tell(part, said.replace(segment, "*") if segment else said)
            return
        # Where, but not what: its message may quote a value of a request.
        at = traceback.extract_tb(error.__traceback__)[-1]
        self.tell(part, f"unexpected {type(error).__name__} in {at.name}, line {at.lineno}")

    def __str__(self) -> str:
        """All of them, or nothing."""
        return "; ".join(tuple(self._found.values()))
