"""Machine code from Python, for loops over small things that no array operation covers."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numpy as np
from numba import njit

Args = ParamSpec("Args")
Result = TypeVar("Result")


def compiled(function: Callable[Args, Result]) -> Callable[Args, Result]:
    """Compile at the first call, and keep the machine code in a cache beside the source.

    Division by zero gives what it gives in NumPy. ``NUMBA_DISABLE_JIT=1`` runs the Python itself.
    """
    decorate = njit(cache=True, nogil=True, error_model="numpy")
    return cast("Callable[Args, Result]", decorate(function))


def inlined(function: Callable[Args, Result]) -> Callable[Args, Result]:
    """Compile into whatever calls it: a call that counts references may cost more than a loop."""
    decorate = njit(inline="always", error_model="numpy")
    return cast("Callable[Args, Result]", decorate(function))


@compiled
def scrambled(x: int | np.uint64) -> int:
    """The 64 bits of a counter as if they were random: the finalizer of SplitMix64."""
    bits = np.uint64(x)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))  # type: ignore[return-value]
