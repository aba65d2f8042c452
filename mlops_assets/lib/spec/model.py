"""What every part of a spec has in common."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """A part of the spec: unknown fields are mistakes, and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
