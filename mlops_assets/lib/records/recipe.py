"""The recipe of a version: the parts of the spec that made it, kept so that it can be made again.

A spec changes, and so do the usual search spaces. What a version was made with is written down
beside it, under its digest, which is in the version's lineage.
"""

from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.spec.gate import Decision
from mlops_assets.lib.spec.model import Model
from mlops_assets.lib.spec.split import Split
from mlops_assets.lib.spec.training_plan import Candidate, Training
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage


class Recipe(Model):
    """What changes a model, given the same batches and the same SQL.

    Attributes:
        training: With every search space and every fixed parameter said, the usual ones, too.
    """

    contract: Contract
    split: Split
    training: Training
    decision: Decision

    @classmethod
    def of(cls, spec: UseCase) -> "Recipe":
        """The recipe of what a spec makes now."""
        plan = spec.training
        said = {
            name: Candidate.model_validate(
                {**own.model_dump(), "search": plan.search(name), "fixed": plan.fixed(name)}
            )
            for name, own in plan.candidates.items()
        }
        return cls(
            contract=spec.contract,
            split=spec.split,
            training=plan.model_copy(update={"candidates": said}),
            decision=spec.decision,
        )

    @property
    def digest(self) -> str:
        """Digest of every field."""
        return digest_of(self.model_dump(mode="json"))


def key(use_case: str, digest: str) -> str:
    """Where the recipe of a digest lies."""
    return f"{use_case}/recipes/{digest}.json"


def keep(storage: Storage, use_case: str, recipe: Recipe) -> str:
    """Write a recipe down.

    Returns:
        Its digest.
    """
    storage.create_json(key(use_case, recipe.digest), recipe.model_dump(mode="json"))
    return recipe.digest


def read(storage: Storage, use_case: str, digest: str) -> Recipe | None:
    """The recipe of this digest, or None where it was not kept or is not what it was.

    A field that came later has its usual value in an older recipe; so the text is what is digested.

    Raises:
        pydantic.ValidationError: If this version of the platform cannot read it.
    """
    value = storage.read_json(key(use_case, digest))
    if value is None or digest_of(value) != digest:
        return None
    return Recipe.model_validate(value)
