"""Planning in the simulator beside Judo: the same tasks, rollouts, knots, horizon and rewards.

    python -m benchmarks.judo PYTHON, the interpreter that judo-rai is installed for

Judo's own process simulates both, and its own reward judges both, on its own models; the model, the
number of candidates, of knots and of steps are what Judo itself says it uses. Both plan at every
step of the simulation, which waits for them. Plans are timed in turns from the same states. Returns
are those of Judo as it comes, and also of Judo with the noise that we use.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import numpy.typing as npt
import tyro
from benchmarks.common import RESULTS, Row, about
from benchmarks.peers.process import PeerProcess
from benchmarks.planning import Recorder, latency, measure_and_publish
from mujoco.batch import Batch

from mpc_robot.controllers import (
    MPC,
    CEMConfig,
    MPPIConfig,
    OptimizerConfig,
    PredictiveSamplingConfig,
    make_optimizer,
    spline_for,
)
from mpc_robot.dynamics.simulator import INTEGRATION, Simulator
from mpc_robot.envs import Task, env_spec, make_env
from mpc_robot.envs.arrays import Array, namespace
from mpc_robot.envs.gymnasium_mujoco import positions_and_velocities
from mpc_robot.envs.mjcf import MjcfEnv

Floats = npt.NDArray[np.float64]
SEEDS = 5
SECONDS = 10.0
"""How long an episode lasts."""
FIELDS = ("qpos", "qvel")
Returns = dict[str, list[float]]
"""Returns of the seeds, by planner."""
SEARCHES = ("cem", "mppi", "predictive-sampling")


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        python: interpreter with judo-rai installed.
        json: print the result as one JSON object on the last line.
        quick: only see that everything runs; the numbers mean little.
        out: where to write the result.
    """

    python: tyro.conf.Positional[Path]
    json: bool = False
    quick: bool = False
    out: Path = RESULTS / "simulator_mpc" / "judo.json"


# The tasks, with Judo's rewards for batches.


def smooth_absolute(x: Array, width: float) -> Array:
    """|x|, rounded within ``width`` of 0."""
    rounded: Array = (x**2 + width**2) ** 0.5 - width
    return rounded


def half_square(vector: Array) -> Array:
    """Half the sum of squares over the last axis, ``[..., n] -> [...]``."""
    half: Array = 0.5 * (vector**2).sum(-1)
    return half


def cartpole_reward(obs: Array, action: Array, next_obs: Array) -> Array:
    """Less the pole's lean, the cart's distance from the middle, velocities and command."""
    lean = namespace(next_obs).cos(next_obs[..., 1]) - 1.0
    posture = smooth_absolute(lean, 0.01) + smooth_absolute(next_obs[..., 0], 0.1)
    total: Array = -10.0 * posture - 0.1 * half_square(next_obs[..., 2:])
    return total - 0.1 * half_square(action)


def cylinder_push_reward(obs: Array, action: Array, next_obs: Array) -> Array:
    """Less the thing's distance from the goal, 0, and the pusher's from the place behind it."""
    pusher, thing = next_obs[..., 0:2], next_obs[..., 2:4]
    distance = (thing**2).sum(-1, keepdims=True) ** 0.5
    behind = thing + 0.25 * thing / distance
    total: Array = -0.5 * half_square(pusher - behind) - 0.1 * half_square(thing)
    return total


REWARDS = {"cartpole": cartpole_reward, "cylinder_push": cylinder_push_reward}


def planning_task(name: str, model: str) -> Task:
    """Judo's task of that name on its own model, which stays where it is."""
    reward = REWARDS[name]
    env_id = f"mpc_robot_benchmark/{name}-v0"
    make = partial(
        MjcfEnv,
        model,
        observe=positions_and_velocities,
        fields=FIELDS,
        reward=reward,
        start=lambda data, rng: None,
    )
    if env_id not in gym.registry:
        gym.register(env_id, make, max_episode_steps=1_000)  # type: ignore[arg-type]
    return Task(name, env_id, reward=reward, observe=positions_and_velocities, fields=FIELDS)


# The planners.


NOISE = {"cartpole": 0.05, "cylinder_push": 0.1}
"""Standard deviation of the candidates, relative to half the action range."""


def optimizer_config(search: str, candidates: int, noise: float) -> OptimizerConfig:
    """One iteration, as Judo does."""
    if search == "cem":
        return CEMConfig(num_samples=candidates, num_elites=4, iterations=1, initial_std=noise)
    if search == "mppi":
        return MPPIConfig(num_samples=candidates, temperature=0.05, noise_std=noise)
    return PredictiveSamplingConfig(num_samples=candidates, noise_std=noise)


def episode(
    peer: PeerProcess, act: Callable[[Mapping[str, Any]], Any], seed: int, steps: int
) -> float:
    """The return of an episode that Judo simulates and judges."""
    now, total = peer.ask({"reset": seed}), 0.0
    for _ in range(steps):
        now = peer.ask({"step": list(act(now))})
        total += now["reward"]
    return total


class Planner:
    """Our MPC with the budget of a controller of Judo's.

    Attributes:
        mpc: the planner.
        steps: control steps of an episode.
    """

    def __init__(self, name: str, hello: Mapping[str, Any], threads: int) -> None:
        """Plan on Judo's model with as many candidates, knots and steps as ``hello`` says."""
        task = planning_task(name, hello["model"])
        spec = env_spec(make_env(task))
        spline = spline_for(spec, hello["steps"] * spec.dt, hello["nodes"], hello["interpolation"])
        simulator = Simulator(task, threads)
        config = optimizer_config(hello["search"], hello["rollouts"], NOISE[name])
        self.recorder = Recorder(simulator)
        self.mpc = MPC(self.recorder, make_optimizer(spline, config))
        self.steps = round(SECONDS / spec.dt)
        self._model, self._data = simulator.model, mujoco.MjData(simulator.model)
        self._batch = Batch(simulator.model, hello["rollouts"], nthread=threads)

    def sensed(self, now: Mapping[str, Any]) -> Floats:
        """The physics state ``[S]`` of Judo's simulation."""
        model, data = self._model, self._data
        data.time, data.qpos[:], data.qvel[:] = now["time"], now["qpos"], now["qvel"]
        state = np.empty(mujoco.mj_stateSize(model, INTEGRATION))
        mujoco.mj_getState(model, data, state, INTEGRATION)
        return state

    def episode(self, peer: PeerProcess, seed: int, steps: int) -> float:
        """The return of an episode."""

        def act(now: Mapping[str, Any]) -> Floats:
            """Our command ``[A]`` for what Judo's simulation says of itself."""
            self.recorder.asked.clear()
            return self.mpc.act(self.sensed(now))

        self.mpc.reset(seed)
        return episode(peer, act, seed, steps)

    def physics(self) -> None:
        """Nothing but the physics that the last plan asked for."""
        for state, actions in self.recorder.asked:
            self._batch.state[:] = state.physics
            self._batch.rollout(actions.shape[1], actions.double().numpy(), record=FIELDS)


# Measuring.


@dataclass(frozen=True)
class Case:
    """What is planned, how, and on how many threads."""

    task: str
    search: str
    threads: int = 1

    def __str__(self) -> str:
        """As in ``cem cartpole, 1 thread``."""
        return f"{self.search} {self.task}, {self.threads} thread{'s'[: self.threads - 1]}"


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of the processor in all threads, that ``call`` takes."""
    clock, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - clock, time.process_time() - processor


def check_reward(peer: PeerProcess, case: Case) -> Row:
    """That our reward is Judo's, on a trajectory of random states.

    Raises:
        ValueError: if it is not.
    """
    rng = np.random.default_rng(0)
    states = rng.normal(size=(100, 2 * (size := len(peer.ask({"where": None})["qpos"]))))
    controls = rng.normal(size=(100, size // 2))
    asked = {"states": states.tolist(), "controls": controls.tolist()}
    theirs = peer.ask({"reward": asked})["reward"]
    ours = float(REWARDS[case.task](states, controls, states).sum())
    if abs(ours - theirs) > 1e-9 * abs(theirs):
        raise ValueError(f"{case.task}: expected Judo's reward {theirs}, got {ours}")
    return Row(f"reward of {case.task}", "difference", abs(ours - theirs), "1")


def measure_plans(case: Case, python: Path, rounds: int) -> list[Row]:
    """Plans of ours and of Judo's in turns, from the same states of an episode."""
    turns = []
    with PeerProcess("judo", python, asdict(case)) as peer:
        planner, now = Planner(case.task, peer.hello, case.threads), peer.ask({"reset": 0})
        for _ in range(rounds):
            theirs = peer.ask({"plan": None})
            planner.recorder.asked.clear()
            ours = timed(partial(planner.mpc.act, planner.sensed(now)))
            turns.append(
                (
                    ours,
                    timed(planner.physics),
                    (theirs["clock"], theirs["processor"]),
                    (theirs["rollouts_clock"], theirs["rollouts"]),
                )
            )
            now = peer.ask({"step": theirs["action"]})
        return [check_reward(peer, case), *plan_rows(case, peer.hello, np.array(turns[3:]))]


def plan_rows(case: Case, hello: Mapping[str, Any], turns: Floats) -> list[Row]:
    """What ``turns[rounds, 4, 2]`` say: ours, its physics, Judo's plan, its rollouts.

    On one thread, by the processor's time, in which nothing else runs; on several, by the clock.
    """
    ours, physics, theirs, rollouts = turns[:, :, 1 if case.threads == 1 else 0].T
    other = f"judo {hello['version']} {case}"
    steps = hello["rollouts"] * hello["steps"]

    def row(name: str, seconds: Floats, of: str, beside: Floats) -> Row:
        """A plan's time beside another's of the same rounds."""
        ratio = float(np.median(seconds / beside))
        return Row(name, "plan_time", float(np.quantile(seconds, 0.25)), "s", of, ratio)

    speed, their_speed = (steps / float(np.quantile(t, 0.25)) for t in (physics, rollouts))
    alone = f"mujoco {hello['mujoco']} rollout, {case}"
    return [
        *latency(f"{case}", turns[:, 0]),
        *latency(other, turns[:, 2]),
        row(f"{case}", ours, other, theirs),
        row(f"{case}", ours, "its physics alone", physics),
        row(other, theirs, "its rollouts alone", rollouts),
        Row(alone, "physics_steps_per_s", their_speed, "1/s"),
        Row(
            f"mujoco {mujoco.__version__} batch, {case}",
            "physics_steps_per_s",
            speed,
            "1/s",
            alone,
            float(np.median(rollouts / physics)),
        ),
    ]


def measure_returns(case: Case, python: Path, seeds: int, steps: int | None) -> Returns:
    """Returns of the same episodes, by planner: Judo's as it comes, with our noise, and ours."""
    returns: Returns = {}
    for name, noise in (("judo", None), ("judo, noise as ours", NOISE[case.task])):
        with PeerProcess("judo", python, {**asdict(case), "noise": noise}) as peer:
            planner = Planner(case.task, peer.hello, case.threads)
            steps = steps or planner.steps

            def judo(now: Mapping[str, Any], peer: PeerProcess = peer) -> Any:
                """Judo's own command ``[A]``."""
                return peer.ask({"plan": None})["action"]

            returns[name] = [episode(peer, judo, seed, steps) for seed in range(seeds)]
            if noise is None:
                returns["ours"] = [planner.episode(peer, seed, steps) for seed in range(seeds)]
    return returns


def return_rows(case: Case, returns: Returns) -> list[Row]:
    """Means; as all rewards are negative, a ratio below 1 is the better return."""
    means = {name: float(np.mean(values)) for name, values in returns.items()}
    ours = means.pop("ours")
    return [
        row
        for name, judo in means.items()
        for row in (
            Row(f"{name}, {case}", "return_mean", judo, "1"),
            Row(f"{case}", "return_mean", ours, "1", f"{name}, {case}", ours / judo),
        )
    ]


def measure(options: Options) -> dict[str, Any]:
    """Everything, as a result for disk."""
    result = about("simulator_mpc")
    rounds, seeds, steps = (6, 1, 5) if options.quick else (150, SEEDS, None)
    rows: list[Row] = []
    returns = {}
    for case in (Case(task, search) for task in REWARDS for search in SEARCHES):
        for threads in (1, 2):
            rows += measure_plans(replace(case, threads=threads), options.python, rounds)
        returns[f"{case}"] = measure_returns(case, options.python, seeds, steps)
        rows += return_rows(case, returns[f"{case}"])
    return {**result, "rows": [asdict(row) for row in rows], "returns": returns, "notes": []}


def main(argv: list[str] | None = None) -> None:
    """Measure, write, tell."""
    measure_and_publish(Options, measure, __doc__, argv)


if __name__ == "__main__":
    main()
