"""What learners are tried on, small enough to learn in seconds: a cart, and a spot of light."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest


class Cart(gym.Env[np.ndarray, np.ndarray]):
    """A frictionless cart: position and velocity, pushed by at most 2 N, drawn to the origin."""

    metadata = {"render_fps": 10, "render_modes": []}  # noqa: RUF012 - Gymnasium's own way
    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gym.spaces.Box(-2.0, 2.0, (1,), np.float64)

    def __init__(self, scale: float = 1.0, glitch: float = 0.0, edge: float = np.inf) -> None:
        """Rewards times ``scale``; the tenth step reports ``glitch``; beyond ``edge`` it ends."""
        self.scale, self.glitch, self.edge, self.steps = scale, glitch, edge, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-1.0, 1.0, 2)
        return self.state, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        q, v, u = *self.state, float(action[0])
        reward = -self.scale * (q * q + 0.1 * v * v + 0.1 * u * u)
        self.steps += 1
        seen = self.state = np.array([q + 0.1 * v, v + 0.1 * u])
        if self.steps == 10:
            seen = seen + self.glitch
        return seen, reward, bool(abs(seen[0]) > self.edge), False, {}


class Spot(gym.Env[np.ndarray, np.ndarray]):
    """A bright column on a screen of 16 x 16, moved by the action; bright is good in the middle."""

    metadata = {"render_fps": 10, "render_modes": []}  # noqa: RUF012 - Gymnasium's own way
    observation_space = gym.spaces.Box(0, 255, (16, 16, 3), np.uint8)
    action_space = gym.spaces.Box(-2.0, 2.0, (1,), np.float64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = self.np_random.uniform(2.0, 14.0)
        return self._frame(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.place = float(np.clip(self.place + action[0], 0.0, 15.0))
        return self._frame(), 1.0 - abs(self.place - 7.5) / 7.5, False, False, {}

    def _frame(self) -> np.ndarray:
        frame = np.zeros((16, 16, 3), np.uint8)
        frame[:, int(self.place)] = 255
        return frame


@pytest.fixture(autouse=True)
def spot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The spot is known as ``Spot-v0``, in episodes of 10 steps."""
    spec = gym.envs.registration.EnvSpec("Spot-v0", Spot, max_episode_steps=10)
    monkeypatch.setitem(gym.registry, "Spot-v0", spec)


@pytest.fixture(autouse=True)
def cart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cart is known as ``Cart-v0``, in episodes of 25 steps, and by what goes wrong with it."""
    for name, kwargs, limit in (
        ("Cart-v0", {}, 25),
        ("ShortCart-v0", {}, 1),
        ("EdgeCart-v0", {"edge": 0.0}, 25),
        ("HugeCart-v0", {"scale": 1e30}, 25),
        ("EndlessCart-v0", {"scale": 1e200}, 25),
        ("NanCart-v0", {"glitch": np.nan}, 25),
    ):
        spec = gym.envs.registration.EnvSpec(name, Cart, max_episode_steps=limit, kwargs=kwargs)
        monkeypatch.setitem(gym.registry, name, spec)
