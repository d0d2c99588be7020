"""A kept process comes back whenever it dies, and goes when its parent does."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from mpc_robot.runtime.kept import KeptProcess
from mpc_robot.runtime.mailbox import Mailbox


def until(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether it becomes true in time."""
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.005)
    return true()


def alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def sleep_for_good() -> None:
    while True:
        time.sleep(1.0)


def test_it_is_begun_anew_when_killed() -> None:
    kept = KeptProcess(sleep_for_good, pause=0.0)
    assert until(lambda: kept.pid > 0)
    first = kept.pid
    kept.restart()
    assert until(lambda: kept.pid not in (0, first) and kept.births == 2)
    assert not alive(first)
    second = kept.pid
    kept.close()
    assert not alive(second)
    kept.close()


def test_work_that_ends_or_fails_is_begun_anew(capfd: pytest.CaptureFixture[str]) -> None:
    box = Mailbox(1)

    def fail() -> None:
        got = box.get()
        box.put(1.0 if got is None else got[1][0] + 1.0)
        raise RuntimeError("the third wheel came off")

    kept = KeptProcess(fail, pause=0.0)
    assert until(lambda: (got := box.get()) is not None and got[1][0] >= 3)
    kept.close()
    assert "the third wheel came off" in capfd.readouterr().err


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_it_goes_with_its_parent(how: signal.Signals) -> None:
    box = Mailbox(1)
    if (parent := os.fork()) == 0:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        kept = KeptProcess(sleep_for_good, pause=0.0)
        until(lambda: kept.pid > 0)
        box.put(kept.pid)
        sleep_for_good()
    assert until(lambda: box.get() is not None)
    got = box.get()
    assert got is not None
    worker = int(got[1][0])
    assert alive(worker)
    os.kill(parent, how)
    os.waitpid(parent, 0)
    assert until(lambda: not alive(worker))


def test_it_can_be_ended_at_once_whatever_the_parent_does_on_signals(
    in_child: Callable[[Callable[[], None]], int],
) -> None:
    """A fork begins with its parent's handlers, which must not take what is meant for it."""

    def begin_and_end() -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        signal.alarm(30)  # the end, should a keeper not hear of it
        for _ in range(20):
            KeptProcess(sleep_for_good).close()

    assert in_child(begin_and_end) == 0


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_nobody_is_left_when_something_happens_to_the_keeper(how: signal.Signals) -> None:
    kept = KeptProcess(sleep_for_good)
    assert until(lambda: kept.pid > 0)
    worker = kept.pid
    os.kill(kept._keeper, how)
    kept.close()
    assert until(lambda: not alive(worker))
