"""The example in real time: the pole goes up, and whoever ends the program finds its report."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from examples import real_time

from mpc_robot.runtime import MuJoCoPlant, RobotState

ROOT = Path(__file__).parents[2]


class Remembering(MuJoCoPlant):
    """A plant whose states outlive it."""

    states: list[RobotState]

    def read(self) -> RobotState | None:
        state = super().read()
        if state is not None:
            self.states.append(state)
        return state


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """The example takes Ctrl-C for itself."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_pole_is_swung_up_in_real_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[RobotState] = []
    monkeypatch.setattr(Remembering, "states", states, raising=False)
    monkeypatch.setattr(real_time, "MuJoCoPlant", Remembering)
    report = tmp_path / "loop.json"
    status = real_time.main(seconds=8.0, report=report)
    height = np.cos([state.physics[2] for state in states if state.physics is not None])
    assert height[0] < -0.9
    assert height[-100:].min() > 0.9
    assert json.loads(report.read_text()) == json.loads(json.dumps(status.as_dict()))
    assert status.ticks + status.missed == 8.0 * real_time.RATE


def test_ctrl_c_ends_it_in_good_order(tmp_path: Path) -> None:
    report = tmp_path / "loop.json"
    words = [sys.executable, "-m", "examples.real_time", "--report", str(report)]
    with subprocess.Popen(words, cwd=ROOT, text=True, stdout=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60.0
        while not (report.exists() and json.loads(report.read_text())["ticks"] > 0):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30.0)
    assert process.returncode == 0
    ticks = json.loads(report.read_text())["ticks"]
    assert 0 < ticks < 10.0 * real_time.RATE and f"ticks: {ticks}\n" in out
