"""The planning benchmark in miniature: it runs, and what it writes is what it measured."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks import planning
from benchmarks.peers.process import WORKERS, PeerError, PeerProcess

from mpc_robot.controllers.optimizers import OPTIMIZERS
from mpc_robot.dynamics.base import Trajectories

HELLO = 'print(\'{"search": "cem", "version": "1"}\', flush=True)\n'


def worker(tmp_path: Path, monkeypatch: Any, script: str) -> None:
    """Give the peer ``fake`` a script of its own."""
    path = tmp_path / "fake.py"
    path.write_text(script)
    monkeypatch.setitem(WORKERS, "fake", path)


def test_a_quick_run_measures_everything_and_writes_what_it_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "planning.json"
    absent = ["--peers", "mbrl-lib", str(tmp_path / "python"), "nobody", sys.executable]
    planning.main(["--quick", "--json", "--out", str(out), *absent])
    result = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == result
    assert result["benchmark"] == "planning"
    assert result["hardware"]["torch_threads"] == torch.get_num_threads() == 1
    assert [note.partition(":")[0] for note in result["notes"]] == ["mbrl-lib", "nobody"]
    measured = {row["case"].split(",")[0] for row in result["rows"]}
    assert measured == {*OPTIMIZERS, planning.DEMO, f"rollout {planning.TINY}".split(",")[0]}
    for row in result["rows"]:
        assert set(row) == {"case", "metric", "value", "unit", "of", "ratio"}
        assert row["value"] > 0
        assert (row["of"] is None) == (row["ratio"] is None)


def test_turns_are_taken_and_timed_by_the_clock_and_by_the_processor() -> None:
    order: list[str] = []

    def sleep() -> None:
        order.append("sleep")
        time.sleep(0.02)

    def work() -> None:
        order.append("work")
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass

    times = planning.take_turns({"sleep": sleep, "work": work}, rounds=3)
    assert order == ["sleep", "work"] * 4
    assert (times["sleep"][:, 0] >= 0.02).all()
    assert (times["sleep"][:, 1] < 0.01).all()
    assert (times["work"][:, 1] >= 0.02).all()


def test_the_peak_is_that_of_the_fastest_product() -> None:
    def took(seconds: float) -> Any:
        return np.full((4, 2), seconds)

    times = {f"{planning.GEMM} 10": took(1.0), f"{planning.GEMM} 100": took(100.0)}
    assert planning.peak({**times, "float32": took(1e-9)}) == pytest.approx(2 * 100**3 / 100.0)


def test_a_planner_is_measured_against_the_very_rollouts_it_asked_for(monkeypatch: Any) -> None:
    """A model that takes 1 ms a candidate, and a score that takes as long again for each."""
    planner = planning.TINY.planner("mppi")
    model: Any = planner.dynamics
    asked = []

    def wait(seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    def rollout(state: Any, actions: Any, rng: Any) -> Trajectories:
        asked.append(actions)
        wait(1e-3 * len(actions))
        rewards = torch.zeros(len(actions), 5, actions.shape[1])
        return Trajectories(torch.zeros(len(actions), 5, 1, 5), rewards, torch.ones_like(rewards))

    def returns(self: Trajectories, discount: float) -> Any:
        wait(1e-3 * len(self.rewards))
        return self.rewards.sum(-1)

    monkeypatch.setattr(model, "rollout", rollout)
    monkeypatch.setattr(Trajectories, "returns", returns)
    rows = {row.metric: row for row in planning.measure_planner("x", planner, np.zeros(5), 3)}
    assert rows["plan_time"].ratio == pytest.approx(2.0, rel=0.2)
    assert rows["transitions_per_s"].value == pytest.approx(5 * 3 / 2e-3, rel=0.2)
    for planned, again in zip(asked[::2], asked[1::2], strict=True):
        assert planned is again


def test_a_peer_says_how_long_it_took(tmp_path: Path, monkeypatch: Any) -> None:
    answer = '{"clock": 3.0, "processor": 2.0, "rollouts": 1.0}'
    script = f"import sys\n{HELLO}for _ in sys.stdin: print('{answer}', flush=True)\n"
    worker(tmp_path, monkeypatch, script)
    with PeerProcess("fake", Path(sys.executable), {}) as peer:
        assert (peer.search, peer.version) == ("cem", "1")
        assert peer.plan() == (3.0, 2.0, 1.0)
    assert peer.process.returncode == 0


@pytest.mark.parametrize("script", ["import nowhere", f"{HELLO}input()\nraise OSError('gone')"])
def test_a_peer_that_breaks_down_says_why(tmp_path: Path, monkeypatch: Any, script: str) -> None:
    worker(tmp_path, monkeypatch, script)
    with pytest.raises(PeerError, match=r"fake: (ModuleNotFoundError: .*nowhere|OSError: gone)"):
        PeerProcess("fake", Path(sys.executable), {})
