"""Safetensors files without anything but the standard library, and how far two of them are apart."""

import array
import json
import math
import struct
import sys
from pathlib import Path

# Array's letter for each of the format's types that the service reads or writes.
LETTERS = {"F32": "f", "F64": "d", "I64": "q", "I32": "i", "U8": "B"}
STATISTICS = ("running_mean", "running_var")
# PyTorch counts batches there; nothing depends on it.
COUNTER = "num_batches_tracked"


def read(path):
    """The tensors of a file: name to (shape, values as an array)."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, about in header.items():
        if name == "__metadata__":
            continue
        begin, end = about["data_offsets"]
        values = array.array(LETTERS[about["dtype"]])
        values.frombytes(data[8 + length + begin : 8 + length + end])
        if sys.byteorder == "big":
            values.byteswap()
        tensors[name] = (about["shape"], values)
    return tensors


def write(path, tensors):
    """Writes tensors: name to (type, shape, values as bytes in little-endian order)."""
    header, offset = {}, 0
    for name, (dtype, shape, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(values)]}
        offset += len(values)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.writelines(values for _, _, values in tensors.values())


def parameters_and_statistics(names):
    """Names of what is trained, and of what normalisation counts."""
    counted = [name for name in names if name.endswith(STATISTICS)]
    trained = [name for name in names if name not in counted and not name.endswith(COUNTER)]
    return trained, counted


def relative_error(got, expected, initial, names):
    """‖got − expected‖ / ‖expected − initial‖ over some tensors together; None where there are none."""
    return distance(got, expected, names) / distance(expected, initial, names) if names else None


def distance(left, right, names):
    """The Euclidean distance of some tensors, taken together."""
    squares = []
    for name in names:
        if name not in left or name not in right:
            raise ValueError(f"{name}: expected in both files")
        (shape, values), (other_shape, others) = left[name], right[name]
        if shape != other_shape:
            raise ValueError(f"{name}: expected one shape, found {shape} and {other_shape}")
        squares.append(math.fsum((a - b) ** 2 for a, b in zip(values, others)))
    return math.sqrt(math.fsum(squares))
