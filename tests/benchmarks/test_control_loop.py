"""The benchmark of the control loop counts what it says it counts."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from benchmarks import control_loop, loop_faults
from benchmarks.loop_faults import Spell, first, outside, recovery

from mpc_robot.envs import get_task, make_env, physics_state
from mpc_robot.errors import RealTimeRefusedError
from mpc_robot.runtime.base import RobotState
from mpc_robot.runtime.limits import CommandLimits
from mpc_robot.runtime.scheduling import fifo_scheduling


def test_the_return_of_an_episode_is_the_environments() -> None:
    """Under no command, which costs nothing."""
    task = get_task("CartpoleSwingup-v0")
    env = make_env(task)
    env.reset(seed=1)
    states, rewards = [RobotState(0.0, 0, physics_state(env))], []
    for k in range(20):
        _, reward, *_ = env.step(np.zeros(1))
        rewards.append(float(reward))
        states.append(RobotState(0.02 * (k + 1), k + 1, physics_state(env)))
    assert control_loop.episode_return(task, states) == pytest.approx(sum(rewards), rel=1e-6)


def rig(commands: list[float] | None = None, events: list[tuple[float, str]] | None = None) -> Any:
    """As much of a rig as counting takes."""
    limits = CommandLimits([-1.0], [1.0], velocity=[50.0], acceleration=[1e4])
    log = SimpleNamespace(
        commands=[np.array([command]) for command in commands or []], events=events or []
    )
    return SimpleNamespace(limits=limits, log=log)


@pytest.mark.parametrize(
    ("commands", "wrong"),
    [
        ([0.0, 0.5, 1.0, 1.0], 0),
        ([0.0, 0.5, 1.0, 1.1], 1),  # too far
        ([0.0, 0.0, 0.7, 0.7], 1),  # too fast
        ([0.5, 0.0, 0.5, 0.5], 0),
        ([0.5, -0.0, 0.5, -0.02], 2),  # too fast, and too sudden
    ],
)
def test_commands_outside_limits_are_counted(commands: list[float], wrong: int) -> None:
    assert outside(rig(commands)) == wrong


def test_times_to_trip_and_to_recover() -> None:
    spell = Spell("nan", 10.0, 11.0)
    well = [(1.0, "recovered")]
    assert first(rig(events=well), "trip", spell) is None
    assert recovery(rig(events=well), spell) == 0.0
    tripped = [*well, (10.1, "trip"), (11.2, "recovered")]
    assert first(rig(events=tripped), "trip", spell) == pytest.approx(0.1)
    assert recovery(rig(events=tripped), spell) == pytest.approx(0.2)
    lost = [*well, (10.1, "trip"), (11.0 + loop_faults.LONGEST, "recovered")]
    assert recovery(rig(events=lost), spell) is None


def real_time_is_allowed() -> bool:
    try:
        with fifo_scheduling():
            return True
    except RealTimeRefusedError:
        return False


def test_periods_are_measured_beside_a_bare_loop(tmp_path: Path) -> None:
    control_loop.main(["period", "--quick", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "period.json").read_text())["rows"]
    jitter = [row for row in rows if row["metric"] == "jitter_p99"]
    cases = 2 * (1 + real_time_is_allowed())
    assert [row["case"].split(",")[0] for row in jitter] == ["bare sleep", "loop"] * cases
    for bare, ours in zip(jitter[::2], jitter[1::2], strict=True):
        assert ours["of"] == bare["case"]
        assert ours["ratio"] == pytest.approx(ours["value"] / bare["value"])
        assert bare["value"] > 0
