"""In lock step, the control loop does to the bit what an evaluation does."""

from collections.abc import Callable

import numpy as np
import pytest

from mpc_robot.controllers import MPC, ICEMConfig, RandomController, make_optimizer, spline_for
from mpc_robot.controllers.base import Controller
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import env_spec, get_task, make_env
from mpc_robot.runtime.limits import CommandLimiter, CommandLimits
from mpc_robot.runtime.lockstep import GymnasiumPlant
from mpc_robot.runtime.loop import ControlLoop
from mpc_robot.runtime.planner import InStep
from mpc_robot.runtime.safety import Safety, Watchdogs
from mpc_robot.training.evaluation import evaluate
from mpc_robot.training.seeding import derive_seed

AT_ONCE = Watchdogs(recover_after=0.0, blend=0.0)


def planner(task_name: str) -> Controller:
    task = get_task(task_name)
    spec = env_spec(make_env(task))
    search = make_optimizer(spline_for(spec, 0.3), ICEMConfig(num_samples=20, num_elites=4))
    return MPC(Simulator(task, threads=1), search)


def random(task_name: str) -> Controller:
    spec = env_spec(make_env(get_task(task_name)))
    return RandomController(spec.action_low, spec.action_high)


@pytest.mark.parametrize(
    ("task_name", "make"),
    [("CartpoleBalance-v0", planner), ("Hopper-v5", random), ("HalfCheetah-v5", planner)],
)
@pytest.mark.parametrize("seed", [0, 7])
def test_the_same_seed_gives_the_same_episode(
    task_name: str, make: Callable[[str], Controller], seed: int
) -> None:
    task, controller, steps = get_task(task_name), make(task_name), 15
    expected = evaluate(task, controller, 1, seed, max_steps=steps).episodes[0]

    env = make_env(task)
    spec = env_spec(env)
    episode = derive_seed(seed, 0)
    plant = GymnasiumPlant(env, derive_seed(episode, 0))
    controller.reset(derive_seed(episode, 1))
    limits = CommandLimits(spec.action_low, spec.action_high)
    safety = Safety(CommandLimiter(limits, spec.dt, np.zeros(spec.action_dim)), AT_ONCE)
    loop = ControlLoop(plant, InStep(controller, task), safety, 1.0 / spec.dt)
    status = loop.run(steps * spec.dt)
    plant.close()

    np.testing.assert_array_equal(plant.rewards, expected.rewards)
    state = plant.read()
    assert state is not None
    np.testing.assert_array_equal(state.observation, expected.observations[-1])
    assert status.ticks == len(expected.rewards)
    assert status.missed == 0
    assert plant.terminated == expected.terminated


def test_the_loop_ends_with_the_episode() -> None:
    task = get_task("CartpoleBalance-v0")
    env = make_env(task)
    spec = env_spec(env)
    plant = GymnasiumPlant(env, 0)
    limits = CommandLimits(spec.action_low, spec.action_high)
    safety = Safety(CommandLimiter(limits, spec.dt, np.zeros(1)), AT_ONCE)
    ControlLoop(plant, InStep(random(task.name), task), safety, 1.0 / spec.dt).run()
    assert plant.over
    assert len(plant.rewards) == spec.max_episode_steps
    plant.write(np.zeros(1))
    assert len(plant.rewards) == spec.max_episode_steps
