"""Data that never change again, so that a checkpoint need write them only once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]


class Chunk:
    """Named arrays, read when they are asked for; as a leaf of a state it is saved only once."""

    def __init__(self, read: Callable[[], Arrays]) -> None:
        """``read`` must give the same arrays whenever it is called."""
        self.arrays = read

    @cached_property
    def digest(self) -> str:
        """SHA-256 of names, types, shapes and contents: the same for the same data."""
        return digest_of(self.arrays())


def digest_of(arrays: Arrays) -> str:
    """SHA-256 of names, types, shapes and contents, in hexadecimal."""
    sha = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        sha.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()
