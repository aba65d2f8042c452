"""Models that misbehave: changes of a bundle's ONNX file, made before its digest is taken."""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

_WIDTH = 1500


def _insert(folder: Path, nodes: list[onnx.NodeProto], **constants: np.ndarray) -> None:
    """Put nodes between `free`, the score before it is clipped, and what reads it as `changed`."""
    path = folder / "model.onnx"
    proto = onnx.load(path)
    all_nodes = list(proto.graph.node)
    at = next(i for i, node in enumerate(all_nodes) if node.op_type == "Clip")
    all_nodes[at].input[0] = "changed"
    all_nodes[at:at] = nodes
    for name, value in constants.items():
        proto.graph.initializer.append(numpy_helper.from_array(value, name))
    graph = proto.graph
    made = helper.make_graph(all_nodes, "changed", graph.input, graph.output, graph.initializer)
    proto.graph.CopyFrom(made)
    path.write_bytes(proto.SerializeToString())


def not_a_number_at_99(folder: Path) -> None:
    """Add 0 / (age - 99): 0 for the golden rows, NaN for a client of 99."""
    _insert(
        folder,
        [
            helper.make_node("Gather", ["features", "first"], ["years"], axis=1),
            helper.make_node("Sub", ["years", "limit"], ["apart"]),
            helper.make_node("Div", ["zero", "apart"], ["poison"]),
            helper.make_node("Add", ["free", "poison"], ["changed"]),
        ],
        first=np.array([0]),
        limit=np.array([99], np.float32),
    )


def slow(folder: Path) -> None:
    """Add nothing, by a way that takes tens of milliseconds a row."""
    steps = 40
    nodes = [helper.make_node("MatMul", ["free", "wide"], ["step_0"])]
    nodes += [
        helper.make_node("MatMul", [f"step_{n}", "square"], [f"step_{n + 1}"]) for n in range(steps)
    ]
    nodes += [
        helper.make_node("ReduceSum", [f"step_{steps}", "last"], ["nothing"], keepdims=1),
        helper.make_node("Add", ["free", "nothing"], ["changed"]),
    ]
    square = np.zeros((_WIDTH, _WIDTH), np.float32)
    wide = np.ones((1, _WIDTH), np.float32)
    _insert(folder, nodes, wide=wide, square=square, last=np.array([1]))
