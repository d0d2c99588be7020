"""Numbers from one process to another: the latest value wins, and nobody ever waits for the other.

Shared memory holds a count, a checksum, a length and the vector. A reader that meets a write in
progress sees a wrong checksum and reads again. Nothing of it is left when the processes end,
however they end.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import weakref
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mpc_robot.errors import require

Floats = npt.NDArray[np.float64]
_TRIES = 20  # a writer that was stopped or killed within a write leaves a wrong checksum


class Mailbox:
    """Room for one vector, written by one process and read by others; made before they fork.

    Attributes:
        size: entries that the vector may have; what is never written takes no memory.
    """

    def __init__(self, size: int) -> None:
        """Empty."""
        self.size = size
        memory = mmap.mmap(-1, 8 * (size + 3))
        head = np.frombuffer(memory, np.uint64, 3)
        self._count, self._checksum, self._length = head.reshape(3, 1)
        self._value = np.frombuffer(memory, np.float64, size, offset=24)
        self._read: tuple[int, Floats] | None = None
        self._woken, self._wake = os.pipe()
        for end in (self._woken, self._wake):
            os.set_blocking(end, False)
            weakref.finalize(self, os.close, end)

    def put(self, *parts: npt.ArrayLike) -> None:
        """Replace the vector by these parts in a row, and wake a reader that waits.

        Raises:
            ValueError: if they have more than ``size`` entries together; nothing is changed then.
        """
        value = np.concatenate([np.ravel(np.asarray(part, np.float64)) for part in parts])
        require(len(value) <= self.size, "mailbox", f"at most {self.size} numbers", len(value))
        count = int(self._count[0]) + 1
        self._length[0] = len(value)
        self._value[: len(value)] = value
        self._checksum[0] = zlib.crc32(value.tobytes(), count & 0xFFFFFFFF)
        self._count[0] = count
        with contextlib.suppress(BlockingIOError):  # full of wakings that nobody took: it is awake
            os.write(self._wake, b"\0")

    def get(self) -> tuple[int, Floats] | None:
        """How often it was written, and the latest vector read whole; None while there is none."""
        for _ in range(_TRIES):
            count = int(self._count[0])
            if count == 0 or (self._read is not None and self._read[0] == count):
                break
            value = self._value[: int(self._length[0])].copy()
            if int(self._checksum[0]) == zlib.crc32(value.tobytes(), count & 0xFFFFFFFF):
                self._read = count, value
                break
        return self._read


def wait_for(mailboxes: Sequence[Mailbox], seconds: float) -> bool:
    """Sleep until one of them is written; False if none was within ``seconds``."""
    ready, _, _ = select.select([mailbox._woken for mailbox in mailboxes], [], [], seconds)
    for end in ready:
        os.read(end, 4096)
    return bool(ready)
