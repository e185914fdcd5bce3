"""Tensors on disk, in the safetensors format."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cfcli.core.errors import ArtifactError

if TYPE_CHECKING:
    pass


def save_tensors(tensors: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Writes tensors in the safetensors format, one after the other: the library's writer takes the
    bytes of all at once, and some are larger than memory (see
    :func:`cfcli.core.training.distributed.sharded.gathered`)."""
    header, end = {}, 0
    for name, value in tensors.items():
        begin, end = end, end + value.nbytes
        kind = {"f": "F", "u": "U", "i": "I"}[value.dtype.kind] + str(8 * value.dtype.itemsize)
        header[name] = {"dtype": kind, "shape": value.shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for value in tensors.values():
            file.write(np.ascontiguousarray(value).data)


def load_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Read the tensors of a file by their names.

    Args:
        path: of a file in the safetensors format.

    Raises:
        ArtifactError: it is damaged, or not there.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, MemoryError) as error:
        raise ArtifactError(f"{path}: damaged: {error}") from None
