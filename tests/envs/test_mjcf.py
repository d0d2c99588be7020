"""A model of one's own as an environment."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc_robot.envs import MjcfEnv

SLIDER = """
<mujoco>
  <option timestep="0.1" gravity="0 0 0"/>
  <worldbody>
    <body><joint name="slide" type="slide" axis="1 0 0"/><geom size="1" mass="1"/></body>
  </worldbody>
  <actuator><motor joint="slide" ctrlrange="-1 1"/></actuator>
</mujoco>
"""


def test_an_observation_that_is_a_field_stays_as_it_was_seen(tmp_path: Path) -> None:
    """The reward is the way made: of 1 kg pushed by 1 N for 0.1 s, 0.01 m after a step."""
    (tmp_path / "slider.xml").write_text(SLIDER)

    def way(obs: Any, action: Any, next_obs: Any) -> Any:
        return next_obs[..., 0] - obs[..., 0]

    env = MjcfEnv(
        tmp_path / "slider.xml",
        observe=lambda fields: fields["qpos"],
        fields=("qpos",),
        reward=way,
        start=lambda data, rng: None,
    )
    start, _ = env.reset(seed=0)
    reached, reward, *_ = env.step(np.ones(1))
    assert start.tolist() == [0.0]
    assert reached[0] == reward == pytest.approx(0.01)
