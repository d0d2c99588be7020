"""The newest value gets through whole, and nobody waits."""

import os
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest

from mpc_robot.runtime.mailbox import Mailbox, wait_for


def test_the_newest_value_wins() -> None:
    box = Mailbox(3)
    assert box.get() is None
    for k in range(5):
        box.put(k, [k + 0.5, -k])
    got = box.get()
    assert got is not None
    assert got[0] == 5
    np.testing.assert_array_equal(got[1], [4.0, 4.5, -4.0])
    assert box.get() is got  # nothing new


def test_a_shorter_value_is_read_as_long_as_it_is() -> None:
    box = Mailbox(3)
    for value in ([1.0, 2.0, 3.0], [4.0], [], [5.0, 6.0]):
        box.put(value)
        got = box.get()
        assert got is not None and got[1].tolist() == value


def test_it_reaches_another_process(in_child: Callable[[Callable[[], None]], int]) -> None:
    box = Mailbox(2)
    assert in_child(lambda: box.put([1.0, np.nan])) == 0
    got = box.get()
    assert got is not None
    np.testing.assert_array_equal(got[1], [1.0, np.nan])


def test_a_value_is_never_half_written() -> None:
    """A writer at full speed is killed at a random moment, again and again."""
    box = Mailbox(2_000)
    for _ in range(20):
        seen: set[float] = set()
        if (child := os.fork()) == 0:
            start = 0 if (got := box.get()) is None else int(got[1][0])
            for k in range(start, 10**9):
                box.put(np.full(2_000, float(k)))
        deadline = time.monotonic() + 10.0
        while len(seen) < 5 and time.monotonic() < deadline:
            if (got := box.get()) is not None:
                assert (got[1] == got[1][0]).all()
                seen.add(got[1][0])
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert len(seen) == 5


def test_what_there_is_no_room_for_changes_nothing() -> None:
    box = Mailbox(2)
    box.put([1.0, 2.0])
    with pytest.raises(ValueError, match="expected at most 2 numbers, got 3"):
        box.put([1.0, 2.0, 3.0])
    got = box.get()
    assert got is not None
    assert list(got[1]) == [1.0, 2.0]


def test_a_reader_that_waits_is_woken() -> None:
    first, second = Mailbox(1), Mailbox(1)
    assert not wait_for([first, second], 0.01)
    for _ in range(100_000):  # more wakings than a pipe holds
        second.put(0.0)
    assert wait_for([first, second], 5.0)
    while wait_for([second], 0.0):
        pass
    assert not wait_for([first, second], 0.01)


def test_nothing_of_it_stays_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    boxes = [Mailbox(1) for _ in range(5)]
    assert len(os.listdir("/proc/self/fd")) > before
    boxes.clear()
    assert len(os.listdir("/proc/self/fd")) == before
