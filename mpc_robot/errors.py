"""The errors a user may want to catch; everything else is a plain ValueError or TypeError."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt


class CheckpointError(RuntimeError):
    """A checkpoint is missing, truncated, tampered with, or belongs to another task or agent."""


class ModelDivergedError(RuntimeError):
    """A model predicts nothing finite any more; planning in it would be meaningless."""


class PlantError(RuntimeError):
    """A robot, simulated or real, reported something no controller may act on, such as NaN."""


class RealTimeRefusedError(PermissionError):
    """The system does not allow real-time scheduling; the message names what is missing."""


class RenderingUnavailable(RuntimeError):  # noqa: N818 - a state of the machine, not a mistake
    """This machine or environment can not make pictures."""


class RunExistsError(FileExistsError):
    """The output folder already holds a run; nothing in it was touched."""


class UnknownNameError(ValueError):
    """A task, agent, controller or dynamics name is not known; the message offers the nearest."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        """Args: the kind of thing (``"task"``), the name that came, and the names that exist."""
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
        offer = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(names)}"
        super().__init__(f"unknown {kind} {name!r}; {offer}")


def require(valid: bool, field: str, expected: str, got: object) -> None:
    """Refuse a setting that makes no sense.

    Raises:
        ValueError: naming the field, what was expected and what came.
    """
    if not valid:
        raise ValueError(f"{field}: expected {expected}, got {got!r}")


def require_numbers(name: str, part: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
    """Refuse an array of another shape, or one that networks, which count in float32, can not take.

    Raises:
        ValueError: naming the part, what was expected and what came.
    """
    require(np.shape(part) == shape, name, f"shape {shape}", np.shape(part))
    with np.errstate(over="ignore"):
        bad = np.flatnonzero(~np.isfinite(np.asarray(part, dtype=np.float32)))
    if len(bad):
        raise ValueError(f"{name}[{bad[0]}]: expected a finite number, got {part.flat[bad[0]]}")


def require_choices(config: object) -> None:
    """Refuse a dataclass with a word in a field whose type knows other words only.

    Raises:
        ValueError: naming the field, the words and what came.
    """
    for name, kind in get_type_hints(type(config)).items():
        kinds = {get_origin(each): each for each in (kind, *get_args(kind))}
        got = getattr(config, name)
        if Literal in kinds and got is not None:
            words = get_args(kinds[Literal])
            require(got in words, name, f"one of {', '.join(words)}", got)
