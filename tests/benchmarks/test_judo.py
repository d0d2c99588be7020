"""The comparison with Judo in miniature, beside a stand-in that speaks as Judo's worker does."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from benchmarks import judo
from benchmarks.peers.process import WORKERS

MODEL = """
<mujoco>
  <option timestep="0.04"/>
  <worldbody>
    <body>
      <joint name="x" type="slide" axis="1 0 0"/><geom size="0.1" mass="1"/>
      <body><joint name="turn"/><geom fromto="0 0 0 0 0 1" size="0.1" type="capsule"/></body>
    </body>
  </worldbody>
  <actuator><motor joint="x" ctrlrange="-1 1"/></actuator>
</mujoco>
"""

# Its reward is Judo's formula of the cart-pole, number by number; it plans to do nothing.
PEER = """
import json, math, sys
import mujoco

model = mujoco.MjModel.from_xml_path({path!r})
data = mujoco.MjData(model)

def soft(x, p):
    return math.sqrt(x * x + p * p) - p

def reward(states, controls):
    total = 0.0
    for (x, angle, *velocities), (u,) in zip(states, controls):
        total -= 10 * soft(math.cos(angle) - 1, 0.01) + 10 * soft(x, {width})
        total -= 0.05 * (sum(v * v for v in velocities) + u * u)
    return {{"reward": total}}

def where(_=None):
    return {{"time": data.time, "qpos": list(data.qpos), "qvel": list(data.qvel)}}

def reset(seed):
    mujoco.mj_resetData(model, data)
    data.qpos[:] = 1.0, 0.1 * seed
    return where()

def step(action):
    data.ctrl[:] = action
    mujoco.mj_step(model, data)
    return {{**where(), **reward([[*data.qpos, *data.qvel]], [action])}}

def plan(_):
    seconds = {{"clock": 4.0, "processor": 3.0, "rollouts": 2.0, "rollouts_clock": 1.0}}
    return {{**seconds, "action": [0.0]}}

print(json.dumps({{
    "version": "0", "mujoco": "3", "search": json.loads(sys.argv[1])["search"], "model": {path!r},
    "rollouts": 8, "nodes": 4, "steps": 25, "interpolation": "zero", "iterations": 1,
}}), flush=True)
for line in sys.stdin:
    for name, argument in json.loads(line).items():
        answer = reward(**argument) if name == "reward" else globals()[name](argument)
        print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: Any) -> Iterator[Path]:
    """A worker that plans one task, and where it stands."""
    model, script = tmp_path / "model.xml", tmp_path / "worker.py"
    model.write_text(MODEL)
    script.write_text(PEER.format(path=str(model), width=0.1))
    monkeypatch.setitem(WORKERS, "judo", script)
    monkeypatch.setattr(judo, "REWARDS", {"cartpole": judo.cartpole_reward})
    yield script
    gym.registry.pop("mpc_robot_benchmark/cartpole-v0")


def test_a_quick_run_compares_times_and_returns(
    stand_in: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "judo.json"
    judo.main([sys.executable, "--quick", "--json", "--out", str(out)])
    result = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == result
    rows = {(row["case"], row["metric"], row["of"]): row for row in result["rows"]}
    for search in judo.SEARCHES:
        one, two = (f"{search} cartpole, {threads}" for threads in ("1 thread", "2 threads"))
        assert rows[f"judo 0 {one}", "plan_time", "its rollouts alone"]["ratio"] == 1.5
        assert rows[f"judo 0 {two}", "plan_time", "its rollouts alone"]["ratio"] == 4.0
        for case, seconds in ((one, 3.0), (two, 4.0)):
            row = rows[case, "plan_time", f"judo 0 {case}"]
            assert 0.3 * row["value"] < row["ratio"] * seconds < 3.0 * row["value"]
        returns = result["returns"][one]
        assert returns["judo"] == returns["judo, noise as ours"] != returns["ours"]
        for name in ("judo", "judo, noise as ours"):
            row = rows[one, "return_mean", f"{name}, {one}"]
            assert row["ratio"] == pytest.approx(returns["ours"][0] / returns["judo"][0])


def test_another_reward_than_judos_is_refused(stand_in: Path, tmp_path: Path) -> None:
    stand_in.write_text(PEER.format(path=str(tmp_path / "model.xml"), width=0.2))
    with pytest.raises(ValueError, match="cartpole: expected Judo's reward -"):
        judo.main([sys.executable, "--quick", "--out", str(tmp_path / "judo.json")])
    assert not (tmp_path / "judo.json").exists()
