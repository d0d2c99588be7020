"""Messages of ROS 2 as bytes: CDR, little-endian (XCDR version 1, OMG DDSI-RTPS 10)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_LITTLE_ENDIAN = b"\0\1\0\0"


def float64_multi_array(numbers: Floats) -> bytes:
    """A ``std_msgs/Float64MultiArray`` of numbers in a row."""
    dimensions = offset = 0
    start = struct.pack("<III4x", dimensions, offset, numbers.size)
    return _LITTLE_ENDIAN + start + _doubles(numbers)


def string(text: str) -> bytes:
    """A ``std_msgs/String``."""
    return _LITTLE_ENDIAN + _string(text)


class JointStates:
    """Makes ``sensor_msgs/JointState`` of the same joints again and again, without efforts."""

    def __init__(self, names: Sequence[str]) -> None:
        """Of these joints."""
        self._count = struct.pack("<I", len(names))
        no_frame = _padded(_string(""))
        self._names = no_frame + self._count + b"".join(_padded(_string(name)) for name in names)

    def message(self, nanoseconds: int, position: Floats, velocity: Floats) -> bytes:
        """One that was measured so long after 1970."""
        stamp = struct.pack("<iI", *divmod(nanoseconds, 1_000_000_000))
        start = stamp + self._names + self._count
        to_double = bytes(-len(start) % 8)
        positions, velocities = (_doubles(numbers) for numbers in (position, velocity))
        parts = start, to_double, positions, self._count, bytes(4), velocities, bytes(4)
        return _LITTLE_ENDIAN + b"".join(parts)


def _string(text: str) -> bytes:
    """Length, characters and a zero."""
    raw = text.encode() + b"\0"
    return struct.pack("<I", len(raw)) + raw


def _padded(part: bytes) -> bytes:
    """``part``, after which a number of 4 bytes may come."""
    return part + bytes(-len(part) % 4)


def _doubles(numbers: Floats) -> bytes:
    """Numbers in a row."""
    return numbers.astype("<f8", copy=False).tobytes()
