"""What the gate found: every check with its answer, what broke, and the decision."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Status = Literal["passed", "failed", "warned", "not run"]


@dataclass(frozen=True)
class Answer:
    """One check and what it said.

    Attributes:
        asset: Path of the asset, without the use case.
        check: Its name.
        batch: What it judged, where the asset is made a batch at a time.
        status: ``warned`` where advice failed, which stops nothing; ``not run`` where the run ended
            before it was asked.
        said: What it found.
    """

    asset: str
    check: str
    batch: str
    status: Status
    said: str

    @property
    def stops(self) -> bool:
        """Whether it keeps a version from serving."""
        return self.status in ("failed", "not run")


@dataclass(frozen=True)
class Crash:
    """Something that raised.

    Attributes:
        where: The asset, or the job.
        said: The error, its cause first.
    """

    where: str
    said: str


@dataclass
class Outcome:
    """What the gate found.

    Attributes:
        use_case: Its name.
        title: The problem in one line.
        data: Names of the files that landed.
        data_only: Whether nothing was to be trained.
        against: The version that serves where the challenger was held against one, and its place.
        answers: Every check, in the order of the graph.
        crashes: What raised.
        entry: The decision as the ledger has it; None where none was taken.
        evaluation: Record of the evaluation.
        tables: Of the evaluation, Markdown, by name.
        pictures: Of the evaluation, PNG files.
        card: The model card, Markdown.
    """

    use_case: str
    title: str
    data: list[str]
    data_only: bool = False
    against: str = ""
    answers: list[Answer] = field(default_factory=list)
    crashes: list[Crash] = field(default_factory=list)
    entry: dict[str, Any] | None = None
    evaluation: dict[str, Any] | None = None
    tables: dict[str, str] = field(default_factory=dict)
    pictures: list[Path] = field(default_factory=list)
    card: str = ""

    @property
    def stopped_by(self) -> list[Answer]:
        """The checks that keep the version from serving."""
        return [answer for answer in self.answers if answer.stops]

    @property
    def passed(self) -> bool:
        """Whether everything was done, every check that counts passed, and the gate let it by."""
        # Promoted: the version is the champion that it was held against. Pending: the gate is
        # content, and in production a person will be asked.
        good = ("approved", "pending", "promoted")
        decided = self.entry is not None and self.entry["decision"] in good
        return bool(
            self.answers
            and not self.crashes
            and not self.stopped_by
            and (self.data_only or decided)
        )

    @property
    def result(self) -> str:
        """The result in one line."""
        passed = sum(answer.status == "passed" for answer in self.answers)
        counted = f"{passed} of {len(self.answers)} checks passed"
        word = "approved" if self.passed else "rejected"
        about = f"version of {self.use_case} {word}"
        if self.data_only or (self.entry is None and not self.crashes):
            about = f"data of {self.use_case} {'accepted' if self.passed else 'refused'}"
        if self.crashes:
            return f"{self.use_case} broke in {self.crashes[0].where}: {counted}"
        return f"{about}: {counted}"
