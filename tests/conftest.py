"""What tests of several folders need: children to kill, and a learner in miniature."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from mpc_robot.agents import AGENTS, AgentKind
from mpc_robot.data.replay import Experience, ReplayBuffer

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell's script
    signal.signal(signal.SIGINT, signal.default_int_handler)


def global_random_states() -> tuple[bytes, int, bytes]:
    """The states that no result may depend on: NumPy's and torch's."""
    _, keys, position, *_ = np.random.get_state()
    return keys.tobytes(), position, torch.get_rng_state().numpy().tobytes()


@pytest.fixture(autouse=True)
def nothing_draws_from_a_global_generator() -> Iterator[None]:
    before = global_random_states()
    yield
    assert global_random_states() == before


def start_child(work: Callable[[], None]) -> int:
    """Fork a child that does ``work``; its process id. A fork skips three seconds of imports."""
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)  # OpenMP's thread pool does not survive a fork
            work()
            os._exit(0)
        except BaseException:  # the child must not return into pytest
            os._exit(1)
    return child


@pytest.fixture
def in_child() -> Callable[[Callable[[], None]], int]:
    """Run a function in a child process; its exit status as ``os.waitpid`` tells it."""
    return lambda work: os.waitpid(start_child(work), 0)[1]


@pytest.fixture
def killed_after() -> Callable[[float, Callable[[], None]], int]:
    """Run a function in a child that is killed after so many seconds; its exit status."""

    def run(seconds: float, work: Callable[[], None]) -> int:
        child = start_child(work)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        return os.waitpid(child, 0)[1]

    return run


class LinearController:
    """``tanh(weights @ observation)``, scaled to the bounds of Pendulum-v1."""

    observes = "observation"
    plan = None

    def __init__(self, weights: np.ndarray[Any, Any]) -> None:
        self.weights = weights

    def reset(self, seed: int) -> None:
        """It has no memory."""

    def act(self, sensed: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return 2.0 * np.tanh(self.weights @ sensed)


class FakeAgent:
    """A learner in miniature: each bit depends on weights, counters, replay and random numbers."""

    def __init__(self, seed: int, rate: float = 1e-3) -> None:
        self.rate = rate
        self.rng = np.random.default_rng(seed)
        self.weights = self.rng.normal(size=(1, 3))
        self.moment = torch.zeros(1, 3)
        self.replay = ReplayBuffer(3, 1, capacity=500)
        self.steps = 0

    def act(self, observation: np.ndarray[Any, Any], explore: bool) -> np.ndarray[Any, Any]:
        noise = 0.3 * self.rng.normal(size=1) if explore else 0.0
        return np.clip(self.controller().act(observation) + noise, -2.0, 2.0)

    def observe(self, experience: Experience) -> None:
        self.replay.add(experience)
        self.steps += 1

    def update(self) -> dict[str, float]:
        if self.steps % 7:
            return {}
        seen = self.replay.all()
        chosen = self.rng.integers(len(self.replay), size=4)
        gradient = (seen.reward[chosen, None] * seen.observation[chosen]).mean(0)
        self.moment = 0.9 * self.moment + torch.from_numpy(gradient).float()
        self.weights = self.weights + self.rate * self.moment.numpy()
        return {"model/moment": float(self.moment.norm())}

    def controller(self) -> LinearController:
        return LinearController(self.weights)

    def state_dict(self) -> dict[str, Any]:
        return {
            "weights": self.weights,
            "moment": self.moment,
            "replay": self.replay.state_dict(),
            "rng": self.rng.bit_generator.state,
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weights, self.moment = state["weights"], state["moment"]
        self.replay.load_state_dict(state["replay"])
        self.rng.bit_generator.state = state["rng"]
        self.steps = state["steps"]


@dataclass(frozen=True)
class FakeConfig:
    """Settings of the fake agent.

    Attributes:
        rate: of learning.
        horizon: s, of nothing.
    """

    rate: float = 1e-3
    horizon: float = 1.0

    def __post_init__(self) -> None:
        if self.horizon <= 0:
            raise ValueError(f"horizon: expected a positive time in s, got {self.horizon}")


@pytest.fixture(scope="session")
def fake_agent() -> Callable[[int], FakeAgent]:
    """Makes a fake agent from a seed."""
    return FakeAgent


@pytest.fixture
def fake_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake agent is known by the name ``fake``; its preset for Pendulum-v1 has rate 0.002."""
    kind = AgentKind(
        config_class=FakeConfig,
        preset=lambda task: FakeConfig(rate=2e-3 if task == "Pendulum-v1" else 1e-3),
        build=lambda task, spec, config, seed: FakeAgent(seed, config.rate),
    )
    monkeypatch.setitem(AGENTS, "fake", kind)
