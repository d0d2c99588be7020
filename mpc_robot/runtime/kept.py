"""A child process that is begun again whenever it dies, and that never outlives its parent."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import time
import traceback
from collections.abc import Callable
from types import FrameType

import numpy as np
import torch

_WATCH = 0.02  # s between looks at child and parent
_ENDING = {signal.SIGINT, signal.SIGTERM}


class KeptProcess:
    """Work that goes on in a process of its own, however often that process is killed.

    A keeper process, forked at once while everything is as it was prepared, forks the worker and
    watches it. So the parent may go on to start threads, and a worker that hangs can be killed.
    """

    def __init__(self, work: Callable[[], None], pause: float = 0.05) -> None:
        """Fork now, best before there are other threads: locks they hold stay locked in the fork.

        Args:
            work: runs in the worker, on one torch thread; its end counts as a death.
            pause: time from a worker's death to the next one's birth, s.
        """
        self._pid = np.frombuffer(mmap.mmap(-1, 16), np.int64, 2)  # of the worker; births
        parent = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # until the keeper handles them
        self._keeper = os.fork()
        if self._keeper == 0:
            _keep(work, pause, parent, self._pid)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def pid(self) -> int:
        """The worker's process id, 0 while there is none."""
        return int(self._pid[0])

    @property
    def births(self) -> int:
        """How many workers there have been."""
        return int(self._pid[1])

    def restart(self) -> None:
        """Kill the worker, which then begins anew."""
        if (pid := self.pid) > 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """End worker and keeper; a second time does nothing."""
        if self._keeper > 0:
            os.kill(self._keeper, signal.SIGTERM)
            os.kill(self._keeper, signal.SIGCONT)  # it may have been stopped
            os.waitpid(self._keeper, 0)
            self._keeper = 0
            self.restart()  # for good, if somebody killed the keeper


def _keep(work: Callable[[], None], pause: float, parent: int, pid: np.ndarray) -> None:
    """Be the keeper; never returns."""
    try:
        _watch(work, pause, parent, pid)
    except BaseException:
        traceback.print_exc()
    os._exit(0)


def _watch(work: Callable[[], None], pause: float, parent: int, pid: np.ndarray) -> None:
    """Watch over one worker after the other until the parent ends or asks to."""
    ended = False

    def end(signum: int, frame: FrameType | None) -> None:
        """Asked to end."""
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    # Ctrl-C reaches all of a terminal; the parent decides what comes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    while not ended and os.getppid() == parent:
        child = os.fork()
        if child == 0:
            _work(work)
        pid[:] = child, pid[1] + 1
        while not ended and os.getppid() == parent:
            if os.waitpid(child, os.WNOHANG)[0] != 0:
                break
            time.sleep(_WATCH)
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        pid[0] = 0
        time.sleep(0.0 if ended else pause)


def _work(work: Callable[[], None]) -> None:
    """Be the worker; never returns."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        torch.set_num_threads(1)  # the pool of OpenMP's threads does not survive a fork
        work()
    except BaseException:
        traceback.print_exc()
    os._exit(0)
