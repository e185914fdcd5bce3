"""Tensors on disk, in the safetensors format."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcli.core.errors import ArtifactError

Tensor = NDArray[Any]
LETTERS = {"f": "F", "u": "U", "i": "I"}  # of NumPy's kinds in names of types such as F32
ALIGNMENT = 8  # bytes that the header's length is a multiple of


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Writes tensors one after the other. The library's writer takes the bytes of all at once, and
    some are larger than memory (:func:`cfcli.core.training.distributed.sharded.gathered`).

    Args:
        tensors: floating-point or whole numbers of any shape, by name. Each is read once, in the
            order of the mapping.
        path: the file.
    """
    header = {}
    end = 0
    for name, value in tensors.items():
        begin, end = end, end + value.nbytes
        header[name] = {
            "dtype": f"{LETTERS[value.dtype.kind]}{8 * value.dtype.itemsize}",
            "shape": value.shape,
            "data_offsets": [begin, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for value in tensors.values():
            file.write(np.ascontiguousarray(value).data)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Reads all tensors of a file.

    Args:
        path: the file.

    Returns:
        The tensors by name.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, MemoryError) as error:
        raise ArtifactError(f"{path}: damaged: {error}") from None
