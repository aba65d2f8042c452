"""How rows are held out of training."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mlops_assets.lib.spec.model import Model, Share


class Split(Model):
    """How rows are held out; see ``docs/training.md``.

    Attributes:
        kind: ``hash``: the side follows from a hash, so that a row never changes side. ``time``:
            the newest rows are the test side, so that rows move to the training side as newer ones
            land; it needs the contract's ``event_time``.
        test_fraction: Share of rows on the test side: expected with ``hash``; with ``time`` at
            least, since rows of one moment stay together.
        salt: Changing it draws a new split, and is a decision to be written down.
        by: Columns whose values decide the side by their hash. Without it the contract's
            ``entity`` does, else its ``key``, else all inputs.
        entity: With ``time``: ``separate`` leaves rows out of training whose entity is on the test
            side, too; ``shared`` keeps these earlier rows, as fits where the same entities are
            scored again and again.
        gap_days: With ``time``: rows of this many days before the test side are left out, since
            their outcome was not known yet when its first row was.
        equal_inputs: Largest share of test rows whose inputs a training row has, too. Only for
            sides that do not follow from the inputs: otherwise there is none.
    """

    kind: Literal["hash", "time"] = "hash"
    test_fraction: Annotated[float, Field(gt=0, lt=0.9)] = 0.2
    salt: str = "1"
    by: list[str] = Field(default_factory=list)
    entity: Literal["separate", "shared"] = "separate"
    gap_days: Annotated[float, Field(ge=0, le=3660)] = 0.0
    equal_inputs: Share = 0.05

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "time" and self.by:
            raise ValueError("by: a split by time is made by the contract's event_time alone")
        if self.kind == "hash":
            for field in ("entity", "gap_days"):
                if field in self.model_fields_set and getattr(self, field) not in ("separate", 0):
                    raise ValueError(f"{field}: only a split of kind 'time' has it")
        return self
