"""Rows of model states: NumPy arrays, tensors, or dataclasses and tuples of them.

What is not a number, such as the states of a game, comes as rows of a NumPy array of objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

Rows = TypeVar("Rows")
Index = tuple[npt.NDArray[np.int64], ...]


def room(rows: Rows, *shape: int) -> Rows:
    """Uninitialised room for ``shape`` rows such as these: ``[B, ...] -> [*shape, ...]``."""

    def empty(part: Any) -> Any:
        """Room of the same kind and type."""
        if isinstance(part, torch.Tensor):
            return part.new_empty((*shape, *part.shape[1:]))
        return np.empty((*shape, *part.shape[1:]), part.dtype)

    made: Rows = _map(empty, rows)
    return made


def take(store: Rows, index: Index) -> Rows:
    """A copy of the rows at ``index``, one integer array per leading axis."""
    taken: Rows = _map(lambda part: part[index], store)
    return taken


def put(store: Rows, index: Index, rows: Rows) -> None:
    """Write rows into ``store`` at ``index``."""
    _map(lambda part, new: part.__setitem__(index, new), store, rows)


def concatenate(parts: Sequence[Rows]) -> Rows:
    """Rows one after the other: several ``[Bi, ...]`` as ``[sum Bi, ...]``."""

    def joined(*same: Any) -> Any:
        """All of one field."""
        return torch.cat(same) if isinstance(same[0], torch.Tensor) else np.concatenate(same)

    whole: Rows = _map(joined, *parts)
    return whole


def objects(things: Sequence[Any]) -> npt.NDArray[np.object_]:
    """Anything at all as rows ``[B]``."""
    rows = np.empty(len(things), dtype=object)
    rows[:] = things
    return rows


def _map(call: Callable[..., Any], first: Any, *others: Any) -> Any:
    """``call`` on each array of structures that are alike, in a structure like them."""
    if isinstance(first, np.ndarray):  # as it is most of the time
        return call(first, *others)
    if isinstance(first, tuple):
        return tuple(_map(call, *parts) for parts in zip(first, *others, strict=True))
    if is_dataclass(first):
        names = [field.name for field in fields(first)]
        parts = {n: _map(call, *(getattr(part, n) for part in (first, *others))) for n in names}
        return type(first)(**parts)  # type: ignore[misc]
    return call(first, *others)
