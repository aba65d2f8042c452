"""Tensors: rows and answers by column, as the protocol has them.

A request holds one tensor for each column of the contract. What a value may be is the contract's
matter; here it is only taken out of its tensor.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np

from serving.bundle.columns import Column
from serving.bundle.contract import Contract
from serving.bundle.loaded import Classes
from serving.bundle.values import shown

#: The datatype of a column's tensor, by the type of its values.
DATATYPES: Final = {
    "integer": "INT64",
    "number": "FP64",
    "boolean": "BOOL",
    "text": "BYTES",
    "timestamp": "BYTES",
}
_NUMBERS: Final = {
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    "FP32": "<f4",
    "FP64": "<f8",
}
_BINARY_SIZE: Final = "binary_data_size"
_BINARY: Final = "binary_data"
_ALL_BINARY: Final = "binary_data_output"
_LENGTH_BYTES: Final = 4


class TensorError(ValueError):
    """A request that is no request of this protocol, or not for this contract."""


class Tensor(msgspec.Struct):
    """One tensor of a request."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] = {}


class Wanted(msgspec.Struct):
    """One tensor that an answer is to hold."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct):
    """A request for predictions."""

    inputs: list[Tensor]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[Wanted] | None = None


_decoder: Final = msgspec.json.Decoder(InferRequest)
_encode: Final = msgspec.json.Encoder().encode


def read_request(body: bytes, json_bytes: int | None) -> InferRequest:
    """Read a request; binary tensors become lists of values.

    Args:
        body: JSON, and after it the content of binary tensors, if there are any.
        json_bytes: How much of it is JSON; all without it.

    Raises:
        TensorError: It is no request.
    """
    if json_bytes is not None and json_bytes > len(body):
        raise TensorError(f"the JSON part is to have {json_bytes} bytes; the body has {len(body)}")
    try:
        request = _decoder.decode(body[:json_bytes])
    except msgspec.ValidationError as error:
        raise TensorError(f"not a request of the V2 protocol: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise TensorError("the request must be valid JSON") from None
    rest = memoryview(body)[len(body) if json_bytes is None else json_bytes :]
    for tensor in request.inputs:
        size = tensor.parameters.get(_BINARY_SIZE)
        if size is None:
            continue
        if type(size) is not int or not 0 <= size <= len(rest) or tensor.data is not None:
            raise TensorError(
                f"input {shown(tensor.name)}: {_BINARY_SIZE} is {shown(size)}, and {len(rest)} "
                "bytes are left in the body"
            )
        tensor.data = _from_binary(tensor, rest[:size])
        rest = rest[size:]
    if len(rest):
        raise TensorError(f"the body has {len(rest)} bytes more than its tensors")
    return request


def rows_of(request: InferRequest, contract: Contract, most: int) -> list[object]:
    """Turn the tensors of a request into rows, for the contract to check.

    Args:
        request: Its inputs: one tensor of shape `[n]` or `[n, 1]` for each column.
        contract: Of who answers. A column that may be null may be left out.
        most: Rows that a request may hold.

    Raises:
        TensorError: A tensor is not a column's, or not of its type, or the shapes differ.
    """
    columns = {column.name: column for column in contract.columns}
    values: dict[str, list[Any]] = {}
    for tensor in request.inputs:
        where = f"input {shown(tensor.name)}"
        column = columns.get(tensor.name)
        if column is None:
            raise TensorError(f"{where}: is not a column of this contract")
        if tensor.name in values:
            raise TensorError(f"{where}: is there twice")
        if not _fits(tensor.datatype, column):
            expected = DATATYPES[column.value_type]
            raise TensorError(f"{where}: must be {expected}; got {shown(tensor.datatype)}")
        values[tensor.name] = _column(tensor, where)
    lengths = {len(each) for each in values.values()}
    if len(lengths) != 1:
        raise TensorError(f"the inputs must be of one length; got {sorted(lengths) or 'none'}")
    (rows,) = lengths
    if not 1 <= rows <= most:
        raise TensorError(f"the inputs must hold 1 to {most} rows; got {rows}")
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _fits(datatype: str, column: Column) -> bool:
    expected = DATATYPES[column.value_type]
    # A number is a number: whether 63.0 is a whole one, the contract says.
    return datatype in _NUMBERS if expected in _NUMBERS else datatype == expected


def _column(tensor: Tensor, where: str) -> list[Any]:
    data, shape = tensor.data, tensor.shape
    if data is None:
        raise TensorError(f"{where}: has no data")
    if len(shape) not in (1, 2) or shape[1:] not in ([], [1]):
        raise TensorError(f"{where}: must have the shape [n] or [n, 1]; got {shown(shape)}")
    if shape[1:] and all(type(each) is list and len(each) == 1 for each in data):
        data = [value for (value,) in data]
    if len(data) != shape[0]:
        raise TensorError(f"{where}: has {len(data)} values; its shape says {shown(shape[0])}")
    return data


def _from_binary(tensor: Tensor, content: memoryview) -> list[Any]:
    where = f"input {shown(tensor.name)}"
    try:
        if tensor.datatype == "BYTES":
            return _texts(content)
        if tensor.datatype == "BOOL":
            return [byte != 0 for byte in content]
        values: list[Any] = np.frombuffer(content, _NUMBERS[tensor.datatype]).tolist()
    except KeyError:
        raise TensorError(f"{where}: datatype {shown(tensor.datatype)} is not known") from None
    except ValueError:
        message = f"{where}: {len(content)} bytes are no {shown(tensor.datatype)} tensor"
        raise TensorError(message) from None
    # Numpy knows no null among floats; NaN stands for it.
    return [None if value != value else value for value in values]


def _texts(content: memoryview) -> list[str]:
    """Each text has its length in front of it, in four bytes.

    Raises:
        ValueError: The content ends in the middle of one, or is not UTF-8.
    """
    found, at = [], 0
    while at < len(content):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(content[at:start], "little")
        if at > len(content):
            raise ValueError(at)
        found.append(str(content[start:at], "utf-8"))
    return found


def output_types(classes: Classes) -> dict[str, str]:
    """Name and datatype of each tensor of an answer."""
    return {
        "probability": "FP64",
        "class": _class_type(classes),
        "label": "BYTES",
        "prediction_id": "BYTES",
    }


def _class_type(classes: Classes) -> str:
    kinds = {type(classes.negative.value), type(classes.positive.value)}
    if kinds == {bool}:
        return "BOOL"
    if kinds == {int}:
        return "INT64"
    return "FP64" if kinds <= {int, float} else "BYTES"


def wanted(request: InferRequest, types: dict[str, str]) -> dict[str, bool]:
    """Which tensors an answer is to hold, in order, and whether as binary.

    Raises:
        TensorError: It asks for one that there is not.
    """
    every = request.parameters.get(_ALL_BINARY) is True
    if not request.outputs:
        return dict.fromkeys(types, every)
    found = {}
    for each in request.outputs:
        if each.name not in types:
            message = f"output {shown(each.name)}: must be one of {', '.join(types)}"
            raise TensorError(message)
        found[each.name] = each.parameters.get(_BINARY, every) is True
    return found


def write_outputs(
    head: dict[str, Any],
    answers: Sequence[dict[str, Any]],
    types: dict[str, str],
    chosen: dict[str, bool],
) -> tuple[bytes, int | None]:
    """Write an answer.

    Args:
        head: What it holds besides its tensors.
        answers: A row each, with a value for each output.
        types: See `output_types`.
        chosen: See `wanted`.

    Returns:
        The body, and how much of it is JSON if not all of it is.
    """
    outputs: list[dict[str, Any]] = []
    binary = []
    for name, as_binary in chosen.items():
        datatype = types[name]
        values = [answer[name] for answer in answers]
        if datatype == "BYTES":
            values = [value if type(value) is str else str(value) for value in values]
        output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": [len(values)]}
        if as_binary:
            content = _to_binary(datatype, values)
            output["parameters"] = {_BINARY_SIZE: len(content)}
            binary.append(content)
        else:
            output["data"] = values
        outputs.append(output)
    text = _encode({**head, "outputs": outputs})
    return b"".join([text, *binary]), len(text) if binary else None


def _to_binary(datatype: str, values: list[Any]) -> bytes:
    if datatype == "BYTES":
        texts = [value.encode() for value in values]
        return b"".join(len(t).to_bytes(_LENGTH_BYTES, "little") + t for t in texts)
    return np.array(values, "?" if datatype == "BOOL" else _NUMBERS[datatype]).tobytes()
