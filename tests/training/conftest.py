"""Children that are killed at a chosen moment, and a server for views."""

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import viser

from mpc_robot.training.viewer import serving


@pytest.fixture
def killed_before(
    in_child: Callable[[Callable[[], None]], int],
) -> Callable[[Any, str, int, Callable[[], None]], int]:
    """Run a function in a child killed just before its nth call of ``owner.call``; its status."""

    def run(owner: Any, call: str, nth: int, work: Callable[[], None]) -> int:
        def work_until_killed() -> None:
            original, calls = getattr(owner, call), itertools.count(1)

            def counted(*args: Any, **kwargs: Any) -> Any:
                if next(calls) == nth:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*args, **kwargs)

            setattr(owner, call, counted)
            work()

        return in_child(work_until_killed)

    return run


@pytest.fixture
def server() -> Iterator[viser.ViserServer]:
    """One for browsers on this machine, at any port that is free."""
    with serving(0) as server:
        yield server
