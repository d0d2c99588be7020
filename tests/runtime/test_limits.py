"""Commands stay within their limits whatever is asked for, and get there as fast as these allow."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from mpc_robot.runtime.limits import CommandLimiter, CommandLimits

Floats = npt.NDArray[np.float64]
ARM = CommandLimits(low=-2.0, high=2.0, velocity=3.0, acceleration=30.0, jerk=1000.0)
DT = 0.002


def filtered(limits: CommandLimits, dt: float, start: Floats, asked: Floats) -> Floats:
    """All commands ``[T + 3, A]``, as after a long rest at ``start``."""
    limiter = CommandLimiter(limits, dt, start)
    return np.array([start] * 3 + [limiter.filter(wanted) for wanted in asked])


def assert_within(limits: CommandLimits, dt: float, commands: Floats) -> None:
    """Limits hold to 1e-9 and the rounding of the commands, seen from outside."""
    assert (commands >= limits.low).all()
    assert (commands <= limits.high).all()
    ulp = np.spacing(np.maximum(np.abs(limits.low), np.abs(limits.high)))
    for order, limit in enumerate((limits.velocity, limits.acceleration, limits.jerk), 1):
        change = np.abs(np.diff(commands, order, axis=0)) / dt**order
        assert (
            change <= np.asarray(limit) * (1 + 1e-9) + 2 * (2 * ulp / dt**order) * 2**order
        ).all()


def random_limits(rng: np.random.Generator, size: int, dt: float) -> CommandLimits:
    """Anything from free to so slow that a stop takes thousands of ticks."""
    low = rng.normal(size=size) * 10.0 ** rng.uniform(-2, 3, size)
    width = np.abs(low) * 10.0 ** rng.uniform(-2, 1, size)
    velocity = width / dt * 10.0 ** rng.uniform(-4, 0.5, size)
    acceleration = velocity / dt * 10.0 ** rng.uniform(-3, 0.5, size)
    jerk = acceleration / dt * 10.0 ** rng.uniform(-2.5, 0.5, size)
    for limit in (velocity, acceleration, jerk):
        limit[rng.random(size) < 0.15] = np.inf
    return CommandLimits(low, low + width, velocity, acceleration, jerk)


def adversary(rng: np.random.Generator, kind: str, limits: CommandLimits, ticks: int) -> Floats:
    """Something to ask for ``[T, A]``."""
    low, high = np.asarray(limits.low), np.asarray(limits.high)
    tick, size, pace = np.arange(ticks)[:, None], low.size, rng.integers(1, 60, low.size)
    switch = (tick // pace) % 2 == 0
    if kind == "bang-bang":
        return np.where(switch, low, high)
    if kind == "huge":
        return np.where(rng.random((ticks, size)) < 0.5, -1e308, 1e308)
    if kind == "wave":
        return (low + high) / 2 + 0.6 * (high - low) * np.sin(tick / pace)
    noise = rng.uniform(low, high, (ticks, size))
    if kind == "steps":
        return noise[tick // pace, np.arange(size)]
    broken = rng.choice([np.nan, np.inf, -np.inf], (ticks, size))
    return np.where(switch, noise, broken) if kind == "broken" else noise


KINDS = ("bang-bang", "huge", "wave", "steps", "broken", "noise")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS), st.sampled_from([0.001, 0.01, 0.1]))
def test_nothing_asked_for_ever_breaks_a_limit(seed: int, kind: str, dt: float) -> None:
    rng = np.random.default_rng(seed)
    limits = random_limits(rng, 16, dt)
    start = rng.uniform(limits.low, limits.high)
    asked = adversary(rng, kind, limits, 300)
    assert_within(limits, dt, filtered(limits, dt, start, asked))


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_what_moves_within_the_limits_passes_unchanged(seed: int) -> None:
    rng = np.random.default_rng(seed)
    time = np.linspace(0.0, 1.0, 800)[:, None]
    waves = sum(rng.normal(size=8) * np.sin(rng.uniform(3, 60, 8) * time) for _ in range(3))
    asked = waves * (time * (1 - time)) ** 4  # begins and ends at rest
    peaks = [np.abs(np.diff(asked, order, axis=0)).max(axis=0) / DT**order for order in (1, 2, 3)]
    limits = CommandLimits(asked.min(axis=0) - 9, asked.max(axis=0) + 9, *peaks)
    np.testing.assert_array_equal(filtered(limits, DT, asked[0], asked)[3:], asked)


def nearest_rest(
    history: Floats, ticks: int, peaks: Floats, slowest: float, least: float = -np.inf
) -> float:
    """The least command to be at rest at after ``ticks``, by linear programming; NaN if none.

    Args:
        history: the last three commands.
        ticks: commands to come, of which the last three are equal.
        peaks: of velocity, acceleration and jerk, per tick, tick^2 and tick^3.
        slowest: least velocity to come, per tick.
        least: a bound on the command to be at rest at.
    """
    commands = np.eye(3 + ticks)
    changes = [np.diff(commands[3 - order :], order, axis=0) for order in (1, 2, 3)]
    most = np.repeat(peaks, ticks)
    slow = np.repeat([-slowest, *peaks[1:]], ticks)
    found = linprog(
        commands[-1],
        A_ub=np.vstack([*changes, *(-change for change in changes), -commands[-1:]]),
        b_ub=np.concatenate([most, slow, [-least if np.isfinite(least) else 1e3]]),
        A_eq=np.vstack([commands[:3], np.diff(commands[-3:], axis=0)]),
        b_eq=np.concatenate([history, np.zeros(2)]),
        bounds=(None, None),
    )
    return float(found.fun) if found.status == 0 else np.nan


def random_peaks(rng: np.random.Generator) -> Floats:
    """Of velocity, acceleration and jerk, such that a stop takes a few ticks."""
    return np.cumprod(np.array([1.0, 1 / rng.uniform(0.5, 5), 1 / rng.uniform(0.5, 5)]))


@pytest.mark.parametrize("seed", range(12))
def test_a_step_is_reached_without_overshoot_within_two_ticks_of_the_optimum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    peaks = random_peaks(rng)
    step = max(10 ** rng.uniform(-1, 1), 1.01 * peaks[2])
    asked = np.full((60, 1), step)
    commands = filtered(CommandLimits(-50, 50, *peaks), 1.0, np.zeros(1), asked)[3:, 0]
    assert commands.max() == commands[-1] == step
    assert (np.diff(commands) >= -1e-12).all()
    ticks = int((commands != step).sum()) + 3  # to where the last three are equal
    assert not nearest_rest(np.zeros(3), ticks - 3, peaks, -peaks[0], step) < step + 1e-9


@pytest.mark.parametrize(
    ("step", "seconds"),
    [
        (1.5, 1.5 / 3 + 3 / 30 + 30 / 1000),  # reaches its greatest velocity
        (0.2, 0.03 + (0.03**2 + 4 * 0.2 / 30) ** 0.5),  # its greatest acceleration
        (0.01, (32 * 0.01 / 1000) ** (1 / 3)),  # its greatest jerk only
    ],
)
def test_a_step_takes_as_long_as_in_continuous_time(step: float, seconds: float) -> None:
    commands = filtered(ARM, DT, np.zeros(1), np.full((400, 1), -step))[3:, 0]
    assert commands.min() == commands[-1] == -step
    assert (commands != -step).sum() * DT == pytest.approx(seconds, abs=4 * DT)


@pytest.mark.parametrize("seed", range(12))
def test_the_stop_is_the_shortest_there_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    peaks = random_peaks(rng)
    limiter = CommandLimiter(CommandLimits(-50, 50, *peaks), 1.0, [0.0])
    asked = rng.uniform(-2, 20, (rng.integers(3, 25), 1))
    history = np.array([limiter.filter(wanted)[0] for wanted in asked])[-3:]
    stop = [history[-1]]
    while not limiter.still:
        stop.append(limiter.filter([np.nan])[0])
    sign = np.copysign(1.0, stop[-1] - history[-1])
    assert (sign * np.diff(stop) >= -1e-12).all()
    shortest = nearest_rest(sign * history, len(stop) + 3, peaks, 0.0)
    assert sign * stop[-1] == pytest.approx(shortest, abs=1e-6)
    assert limiter.filter([np.inf]) == stop[-1]


def test_asked_to_stay_where_it_is_it_stops() -> None:
    stopped, held = (CommandLimiter(ARM, DT, [0.0]) for _ in range(2))
    for _ in range(60):
        stopped.filter([1.0]), held.filter([1.0])
    for _ in range(100):
        stopped.filter([np.nan]), held.filter(held.command)
    assert stopped.still
    assert held.command == pytest.approx(stopped.command, abs=0.02)
    assert np.abs(held.filter(held.command) - held.command) < 1e-6


@pytest.mark.parametrize("frequency", [0.0, 0.3])
def test_what_moves_is_caught_up_with(frequency: float) -> None:
    time = DT * np.arange(1000)
    asked = 0.5 + (0.4 * np.sin(6.28 * frequency * time) if frequency else 0.5 * time)
    behind = asked - filtered(ARM, DT, np.zeros(1), asked[:, None])[3:, 0]
    assert behind[0] > 0.4
    assert np.abs(behind[500:]).max() < 1e-4


def test_a_move_in_straight_pieces_is_followed_without_a_lag() -> None:
    time = DT * np.arange(2000)
    knots = 0.02 * np.arange(201)  # corners that no limited jerk can turn
    asked = np.interp(time, knots, 0.5 * np.sin(3 * knots))
    behind = asked - filtered(ARM, DT, np.zeros(1), asked[:, None])[3:, 0]
    assert np.abs(behind[500:]).max() < 0.03 * 0.5


def test_without_limits_of_the_rate_commands_are_clipped() -> None:
    asked = np.random.default_rng(0).normal(size=(200, 3)) * 2
    low, high = np.array([-1.0, -2.0, 0.5]), np.array([1.0, 3.0, 0.6])
    commands = filtered(CommandLimits(low, high), DT, np.array([0.0, 0.0, 0.5]), asked)[3:]
    np.testing.assert_array_equal(commands, np.clip(asked, low, high))


def test_a_limited_velocity_alone_is_a_clipped_difference() -> None:
    asked, command = np.random.default_rng(1).normal(size=(200, 1)), 0.0
    commands = filtered(CommandLimits(-9, 9, 100.0), DT, np.zeros(1), asked)[3:]
    for wanted, sent in zip(asked[:, 0], commands[:, 0], strict=True):
        command += np.clip(wanted - command, -0.2, 0.2)
        assert sent == pytest.approx(command, abs=1e-12)


def test_actuators_do_not_influence_each_other() -> None:
    rng = np.random.default_rng(2)
    asked, other = rng.uniform(-3, 3, (2, 200, 2))
    asked[:, 1] = other[:, 1] = np.repeat(rng.uniform(-1, 1, 10), 20)
    asked[50:60, 0] = np.nan
    limits = CommandLimits([-2, -1], [2, 1], [3, np.inf], 30, [np.inf, 1e3])
    one, two = (filtered(limits, DT, np.zeros(2), wanted)[:, 1] for wanted in (asked, other))
    np.testing.assert_array_equal(one, two)


def test_reset_forgets_all_motion() -> None:
    limiter = CommandLimiter(ARM, DT, [0.0])
    for _ in range(40):
        limiter.filter([1.0])
    assert not limiter.still
    limiter.reset([-0.5])
    assert limiter.still
    assert limiter.command == limiter.filter([-0.5]) == -0.5


def test_what_it_gives_out_is_not_its_memory() -> None:
    limiter = CommandLimiter(ARM, DT, [0.0])
    limiter.command[:] = limiter.filter([0.0])[:] = 9.0
    assert limiter.filter([0.0]) == 0.0


@pytest.mark.parametrize(
    ("field", "limits"),
    [
        ("low", {"low": np.nan, "high": 1}),
        ("high", {"low": [0, 0], "high": [1, np.inf]}),
        ("high", {"low": [0, 1], "high": 1}),
        ("velocity", {"low": 0, "high": 1, "velocity": 0}),
        ("acceleration", {"low": 0, "high": 1, "acceleration": [1, np.nan]}),
        ("jerk", {"low": 0, "high": 1, "jerk": -1}),
        ("limits", {"low": [0, 0], "high": [1, 1, 1]}),
        ("limits", {"low": 0, "high": 1, "jerk": [[1]]}),
    ],
)
def test_limits_that_make_no_sense_are_refused(field: str, limits: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=rf"^{field}: expected"):
        CommandLimits(**limits)


def test_arguments_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^dt: expected"):
        CommandLimiter(ARM, 0.0, [0.0])
    for start in (0.0, [2.1], [np.nan]):
        with pytest.raises(ValueError, match=r"^start: expected"):
            CommandLimiter(ARM, DT, start)
    with pytest.raises(ValueError, match=r"^high: expected"):
        CommandLimiter(CommandLimits(0, [1, 1]), DT, [0.0])
    limiter = CommandLimiter(ARM, DT, [0.0])
    with pytest.raises(ValueError, match=r"^wanted: expected"):
        limiter.filter([0.0, 0.0])
    with pytest.raises(ValueError, match=r"^command: expected"):
        limiter.reset([-3.0])
    assert limiter.still
