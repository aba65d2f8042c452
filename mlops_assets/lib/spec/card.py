"""What only a person can say about a model: for what it is meant, for what not, and its limits."""

from mlops_assets.lib.spec.model import Model


class Card(Model):
    """The parts of the model card that no figure tells (Mitchell et al. 2019), as Markdown.

    The check ``card`` of a version fails where one is empty.

    Attributes:
        intended_use: Who asks, about whom, and what the answer is used for.
        out_of_scope: What it must not be used for.
        limits: Where the data come from and whom they do not stand for; known weaknesses.
        ethics: Whom a wrong answer harms and how; what is done about it.
    """

    intended_use: str = ""
    out_of_scope: str = ""
    limits: str = ""
    ethics: str = ""
