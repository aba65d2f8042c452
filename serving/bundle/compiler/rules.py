"""What the rules of every operation ask of its arguments."""

from collections.abc import Sequence

from serving.bundle.compiler.plan import Node, UnsupportedError
from serving.bundle.compiler.values import Value, is_number


def require(fits: bool, node: Node) -> None:
    if not fits:
        types = ", ".join(str(child.type) for child in node.children)
        raise UnsupportedError(f"{node.operation}({types}) as {node.type}")


def alike(node: Node, args: Sequence[Value]) -> bool:
    """Whether arguments and result are numbers of one type, DECIMALs of one scale."""
    if node.type.name == "DECIMAL":
        scale = node.type.scale
        return all(each.type.name == "DECIMAL" and each.type.scale == scale for each in args)
    return is_number(node.type) and all(each.type == node.type for each in args)
