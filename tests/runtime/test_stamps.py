"""Stamps of another clock: the clocks themselves, with known offsets and delays, are the oracle."""

import math
import os
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc_robot.runtime.clock import RealClock
from mpc_robot.runtime.stamps import SimulatedClock, StampMap, clock_of, joined, split
from mpc_robot.runtime.topics import Topics

PERIOD = 0.01


def arrivals(sent: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """When messages arrive that take 1 ms at best, and now and then 50 ms."""
    delays = 1e-3 + rng.exponential(1e-3, len(sent)) + 0.05 * (rng.random(len(sent)) < 0.01)
    return np.maximum.accumulate(sent + delays)


@given(st.floats(-1e9, 1e9), st.integers(0, 100))
def test_stamps_are_known_here_to_the_least_delay(offset: float, seed: int) -> None:
    sent = 100.0 + PERIOD * np.arange(300)
    stamps, mapping = StampMap(), []
    for moment, arrival in zip(sent, arrivals(sent, np.random.default_rng(seed)), strict=True):
        mapping.append((stamps.local(moment + offset, arrival), arrival))
    local, arrived = np.array(mapping, dtype=float).T
    assert (local <= arrived + 1e-6).all()
    error = local[100:] - sent[100:]
    assert (error > 0.9e-3).all() and (error < 1.6e-3).all()  # 1 ms and what luck adds to it
    assert stamps.restarts == 0


def test_a_clock_that_drifts_is_followed() -> None:
    sent = PERIOD * np.arange(12_000)  # two minutes, in which 200 ppm make 24 ms
    arrived = arrivals(sent, np.random.default_rng(0))
    for drift in (-2e-4, 2e-4):
        stamps = StampMap()
        local = [stamps.local((1.0 + drift) * t, a) for t, a in zip(sent, arrived, strict=True)]
        error = np.array(local, dtype=float) - sent
        assert np.abs(error[2_500:]).max() < 1e-3 + 2 * 10.0 * 2e-4 + 1e-3


def test_what_is_out_of_order_is_dropped_and_what_is_late_is_old() -> None:
    stamps = StampMap()
    assert [stamps.local(5.0 + t, 100.0 + t) for t in (0.0, 0.01, 0.02)] == pytest.approx(
        [100.0, 100.01, 100.02]
    )
    assert stamps.local(5.01, 100.03) is None and stamps.local(5.02, 100.031) is None
    assert stamps.local(5.03, 100.5) == pytest.approx(100.03)  # not 100.5
    assert stamps.local(5.04, 100.501) == pytest.approx(100.04)


@pytest.mark.parametrize("jump", [-3600.0, -0.5, 0.5, 3600.0])
def test_a_clock_that_is_set_is_believed_soon(jump: float) -> None:
    stamps = StampMap(patience=10)
    for k in range(100):
        stamps.local(1000.0 + PERIOD * k, PERIOD * k)
    after = [stamps.local(1000.0 + jump + PERIOD * k, PERIOD * k) for k in range(100, 130)]
    lost = [local for local in after if local is None]
    assert len(lost) == (9 if jump < 0 else 0)
    assert stamps.restarts == (jump < 0)
    expected = PERIOD * np.arange(100 + len(lost), 130)
    assert np.array(after[len(lost) :], dtype=float) == pytest.approx(expected)


def test_a_single_message_from_the_past_or_the_future_does_not_last() -> None:
    stamps = StampMap()
    local = []
    for k in range(200):
        stamp = PERIOD * k + {50: -30.0, 100: 1e6}.get(k, 0.0)
        local.append(stamps.local(stamp, PERIOD * k))
    assert local[50] is None and local[51] is not None
    assert local[101:110] == [None] * 9 and local[110] is not None
    assert np.array(local[110:], dtype=float) == pytest.approx(PERIOD * np.arange(110, 200))


@given(st.floats(0.0, 4e9))
def test_messages_keep_times_to_a_microsecond(seconds: float) -> None:
    class Stamp:
        sec, nanosec = split(seconds)

    assert 0 <= Stamp.nanosec < 1_000_000_000
    assert math.isclose(joined(Stamp), seconds, rel_tol=0.0, abs_tol=1e-6)


def test_a_simulated_clock_never_goes_back_and_wakes_who_waits() -> None:
    clock = SimulatedClock()
    shown = []
    for now in (1.0, 2.0, 0.5, 0.7):  # the simulator is reset
        clock.set(now)
        shown.append(clock.now())
    assert shown == pytest.approx([1.0, 2.0, 2.0, 2.2])
    assert clock.of(0.7) == clock.now()
    woken = threading.Event()
    thread = threading.Thread(target=lambda: (clock.wait_until(3.0), woken.set()))
    thread.start()
    assert not woken.wait(0.05)
    clock.set(1.6)  # which makes 3.1
    assert woken.wait(5.0)
    thread.join()
    clock.close()
    clock.wait_until(1e9)  # returns at once


def test_a_process_forked_later_sees_a_simulated_clock() -> None:
    clock = SimulatedClock()
    child = os.fork()
    if child == 0:
        clock.wait_until(1.0)
        os._exit(int(clock.now()))
    time.sleep(0.05)
    clock.set(7.0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_topics_say_which_clock() -> None:
    assert isinstance(clock_of(Topics()), RealClock)
    assert isinstance(clock_of(Topics(sim_time=True)), SimulatedClock)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"commands": "commands"}, "commands: expected a topic that begins with /"),
        ({"goal": "/"}, "goal: expected a topic"),
        ({"reach": -1.0}, "reach"),
        ({"depth": 0}, "depth"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Topics(**setting)  # type: ignore[arg-type]
