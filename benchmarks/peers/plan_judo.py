"""Plans with Judo, and is the simulation and judge of its tasks; runs where judo-rai is installed.

    python plan_judo.py PROBLEM, {"task": .., "search": .., "threads": .., "noise": ..} in JSON

Answers one request a line, each in JSON and named after the method of ``Peer`` that answers it.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from typing import Any

import judo.tasks.base
import mujoco
import numpy as np
from judo.controller import Controller, make_controller
from mujoco.rollout import Rollout

SEARCHES = {"cem": "cem", "mppi": "mppi", "predictive-sampling": "ps"}
"""Our name of an optimizer -> Judo's."""


def now() -> Any:
    """Seconds by the clock, and of the processor in all threads."""
    return np.array([time.perf_counter(), time.process_time()])


class Threads:
    """Judo's rollouts on so many threads; it would start one for each candidate."""

    def __init__(self, threads: int) -> None:
        """Simulate on ``threads`` threads, one of them being the caller's own."""
        self.pool = Rollout(nthread=0 if threads == 1 else threads)
        self.threads, self.seconds = threads, np.zeros(2)

    def rollout(self, models: list[Any], data: list[Any], *asked: Any) -> Any:
        """States and sensors, as of ``mujoco.rollout``; remembers how long that took."""
        before = now()
        answer = self.pool.rollout(models, data[: self.threads], *asked)
        self.seconds += now() - before
        return answer


class Peer:
    """A controller of Judo beside the simulation of its task."""

    def __init__(self, task: str, search: str, threads: int, noise: float | None = None) -> None:
        """Judo's own settings for the task; the meshes of its other tasks are not downloaded.

        Args:
            task: Judo's name of it.
            search: our name of the optimizer.
            threads: that simulate.
            noise: standard deviation, relative to half the action range, in place of Judo's.
        """
        judo.tasks.base.download_and_extract_meshes = lambda **kwargs: None
        self.names, self.threads = (task, SEARCHES[search]), Threads(threads)
        self.noise = noise
        self.reset(0)

    def reset(self, seed: int) -> dict[str, Any]:
        """Start an episode anew, with a controller that knows nothing of the last."""
        np.random.seed(seed)
        self.controller: Controller = make_controller(*self.names)
        self.controller.rollout_backend._rollout_obj = self.threads
        self.task = self.controller.task
        if self.noise is not None:
            self.use_noise(self.noise * float(self.task.actuator_ctrlrange[0, 1]))
        return self.where()

    def use_noise(self, sigma: float) -> None:
        """The same noise at every knot and in every plan."""
        optimizer = self.controller.optimizer
        optimizer.config.use_noise_ramp = False
        if hasattr(optimizer, "sigma_max"):
            optimizer.config.sigma_min = optimizer.config.sigma_max = sigma
            optimizer.sigma[:] = sigma
        else:
            optimizer.config.sigma = sigma

    def where(self, _: Any = None) -> dict[str, Any]:
        """Where the simulation is."""
        data = self.task.data
        return {"time": data.time, "qpos": data.qpos.tolist(), "qvel": data.qvel.tolist()}

    def plan(self, _: Any = None) -> dict[str, Any]:
        """Plan once from where the simulation is: what it costs, s, and what to do."""
        data, self.threads.seconds = self.task.data, np.zeros(2)
        self.controller.current_state = np.concatenate([data.qpos, data.qvel])
        before = now()
        self.controller.update_action()
        action = self.controller.action(data.time)
        clock, processor = now() - before
        rollouts_clock, rollouts = self.threads.seconds
        return {
            "clock": clock,
            "processor": processor,
            "rollouts": rollouts,
            "rollouts_clock": rollouts_clock,
            "action": action.tolist(),
        }

    def step(self, action: list[float]) -> dict[str, Any]:
        """Simulate one control step and judge it."""
        data = self.task.data
        data.ctrl[:] = action
        mujoco.mj_step(self.task.sim_model, data)
        state = np.concatenate([data.qpos, data.qvel])
        return {**self.where(), **self.reward({"states": [state], "controls": [action]})}

    def reward(self, seen: dict[str, Any]) -> dict[str, Any]:
        """Judo's reward of a trajectory: ``states[T, nq + nv]`` and ``controls[T, nu]``."""
        states, controls = (np.array(seen[key])[None] for key in ("states", "controls"))
        sensors = np.zeros((*states.shape[:2], self.task.model.nsensordata))
        return {"reward": float(self.task.reward(states, sensors, controls)[0])}

    def settings(self) -> dict[str, Any]:
        """What it plans with."""
        search = self.controller.optimizer_cfg
        return {
            "version": version("judo-rai"),
            "mujoco": mujoco.__version__,
            "search": next(ours for ours, judo in SEARCHES.items() if judo == self.names[1]),
            "model": str(self.task.model_path),
            "rollouts": search.num_rollouts,
            "nodes": search.num_nodes,
            "steps": int(self.controller.num_timesteps),
            "interpolation": self.controller.spline_order,
            "iterations": self.controller.max_opt_iters,
        }


def say(answer: dict[str, Any]) -> None:
    """One line of JSON."""
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    peer = Peer(**json.loads(sys.argv[1]))
    say(peer.settings())
    for line in sys.stdin:
        for method, argument in json.loads(line).items():
            say(getattr(peer, method)(argument))
