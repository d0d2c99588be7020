"""What several of these tests need."""

import os
import signal
import time
from collections.abc import Callable

import pytest
import torch


def start_child(work: Callable[[], None]) -> int:
    """Fork a child that does ``work``; its process id. A fork skips three seconds of imports."""
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)  # OpenMP's thread pool does not survive a fork
            work()
            os._exit(0)
        except BaseException:  # the child must not return into pytest
            os._exit(1)
    return child


@pytest.fixture
def in_child() -> Callable[[Callable[[], None]], int]:
    """Run a function in a child process; its exit status as ``os.waitpid`` tells it."""
    return lambda work: os.waitpid(start_child(work), 0)[1]


@pytest.fixture
def killed_after() -> Callable[[float, Callable[[], None]], int]:
    """Run a function in a child that is killed after so many seconds; its exit status."""

    def run(seconds: float, work: Callable[[], None]) -> int:
        child = start_child(work)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        return os.waitpid(child, 0)[1]

    return run
