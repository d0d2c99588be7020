"""A linear-quadratic problem whose optimum the Riccati recursion gives in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

torch.set_num_threads(1)


@dataclass(frozen=True)
class LinearQuadratic:
    """Minimise ``sum_t x_t' Q x_t + u_t-1' R u_t-1`` over t = 1 .. H with x' = A x + B u."""

    a: npt.NDArray[np.float64]
    b: npt.NDArray[np.float64]
    q: npt.NDArray[np.float64]
    r: npt.NDArray[np.float64]
    start: npt.NDArray[np.float64]

    def score(self, actions: Tensor) -> Tensor:
        """Negative cost of ``actions[N, H, 1]``, ``[N]``."""
        a, b, q, r = (
            torch.tensor(m, dtype=actions.dtype) for m in (self.a, self.b, self.q, self.r)
        )
        x = torch.tensor(self.start, dtype=actions.dtype).expand(len(actions), -1)
        cost = torch.zeros(len(actions), dtype=actions.dtype)
        for u in actions.unbind(1):
            x = x @ a.T + u @ b.T
            cost = cost + ((x @ q) * x).sum(-1) + ((u @ r) * u).sum(-1)
        return -cost

    def riccati(self, horizon: int) -> tuple[list[npt.NDArray[Any]], float]:
        """Gains of ``u_t = -K_t x_t``, first to last, and the least cost from ``start``."""
        p: npt.NDArray[Any] = self.q
        gains = []
        for _ in range(horizon):
            gain = np.linalg.solve(self.r + self.b.T @ p @ self.b, self.b.T @ p @ self.a)
            p = self.q + self.a.T @ p @ (self.a - self.b @ gain)
            gains.append(gain)
        return gains[::-1], float(self.start @ (p - self.q) @ self.start)

    def optimal_actions(self, horizon: int) -> npt.NDArray[np.float64]:
        """The actions ``[H, 1]`` of least cost."""
        x, actions = self.start, []
        for gain in self.riccati(horizon)[0]:
            actions.append(-gain @ x)
            x = self.a @ x + self.b @ actions[-1]
        return np.stack(actions)


class Recorder:
    """A score, best at 0.3 everywhere, that remembers the candidates and scores of each call."""

    def __init__(self) -> None:
        self.candidates: list[Tensor] = []
        self.scores: list[Tensor] = []

    def __call__(self, actions: Tensor) -> Tensor:
        self.candidates.append(actions)
        self.scores.append(-(actions - 0.3).square().sum((1, 2)))
        return self.scores[-1]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="session")
def lq() -> LinearQuadratic:
    dt = 0.2
    return LinearQuadratic(
        a=np.array([[1.0, dt], [0.0, 1.0]]),
        b=np.array([[dt**2 / 2], [dt]]),
        q=np.diag([1.0, 0.1]),
        r=np.array([[0.05]]),
        start=np.array([1.0, 0.0]),
    )
