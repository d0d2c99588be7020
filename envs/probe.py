"""Try a task's functions on a few real transitions, before anything is planned with them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt

from mpc_robot.envs.base import Observation, Task
from mpc_robot.envs.features import Layout
from mpc_robot.envs.mjcf import StartFn
from mpc_robot.envs.wrappers import muted_warnings, read_fields

LEADING = (2, 3)
"""Leading shape of the transitions tried: what takes it takes candidates and steps."""


@dataclass(frozen=True)
class Transitions:
    """Real transitions under random actions, of leading shape ``LEADING``.

    Attributes:
        obs: ``[2, 3, D]``.
        action: ``[2, 3, A]``.
        next_obs: ``[2, 3, D]``.
    """

    obs: Observation
    action: Observation
    next_obs: Observation


def transitions(layout: Layout, start: StartFn, frame_skip: int) -> Transitions:
    """The first steps of an episode of random actions; ``start`` places the simulation.

    Raises:
        ValueError: if an observation of them is not finite.
    """
    model, rng = layout.scene.model, np.random.default_rng(0)
    data = mujoco.MjData(model)
    low, high = model.actuator_ctrlrange.T
    actions = low + (high - low) * rng.uniform(size=(math.prod(LEADING), model.nu))
    start(data, rng)
    with muted_warnings():
        mujoco.mj_forward(model, data)
        seen = [layout.observe(read_fields(data, layout.fields))]
        for data.ctrl[:] in actions:
            mujoco.mj_step(model, data, nstep=frame_skip)
            seen.append(layout.observe(read_fields(data, layout.fields)))
    obs = np.array(seen)
    if not np.isfinite(obs).all():
        at = int(np.argwhere(~np.isfinite(obs))[0, 1])
        label = next(name for name, entries in layout.slices.items() if at < entries.stop)
        raise ValueError(f"observation: expected finite numbers, got NaN or infinity in {label}")
    shaped = (part.reshape(*LEADING, -1) for part in (obs[:-1], actions, obs[1:]))
    return Transitions(*shaped)


def check_task(task: Task, tried: Transitions) -> None:
    """Raises ValueError unless reward and termination are one finite number per transition."""
    for leading in (slice(None), (0, 0)):  # in batches as a plan, and alone as the environment
        obs, action, next_obs = tried.obs[leading], tried.action[leading], tried.next_obs[leading]
        if task.terminated is not None:
            _check("terminated", "boolean", task.terminated(next_obs), "b", next_obs)
        if task.reward is not None:
            earned = task.reward(obs, action, next_obs)
            _check("reward", "number", earned, "fiub", next_obs)
            bad = np.extract(~np.isfinite(earned), earned)
            if bad.size:
                raise ValueError(
                    f"reward: expected finite numbers, got {bad[0]} in the first steps"
                )


def _check(name: str, what: str, got: Any, kinds: str, next_obs: npt.NDArray[Any]) -> None:
    """Raises ValueError unless ``got`` is an array of one number of such a kind per transition."""
    leading = next_obs.shape[:-1]
    array = np.asarray(got)
    if array.shape == leading and array.dtype.kind in kinds:
        return
    came = f"shape {array.shape} of {array.dtype}" if array.shape else f"the scalar {got!r}"
    raise ValueError(
        f"{name}: expected one {what} per transition, an array of shape {leading} for observations "
        f"of shape {next_obs.shape}, got {came}; let it keep every leading axis, as in obs[..., 0]"
    )
