"""Plans with pytorch-mppi whenever a line comes in; runs where pytorch-mppi is installed.

    python plan_pytorch_mppi.py PROBLEM, the fields of benchmarks.planning.Problem in JSON

It comes without a model: this is the same ensemble as plainly as one writes it.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import torch
from pytorch_mppi import MPPI
from torch import Tensor
from torch.nn import functional


class Ensemble:
    """Members that each predict a Gaussian change; a particle keeps its member (TSinf)."""

    def __init__(self, p: SimpleNamespace) -> None:
        """Random weights."""
        self.rng = torch.Generator().manual_seed(0)
        self.members, self.outputs = p.members, p.observation_dim
        sizes = [p.observation_dim + p.action_dim, *[p.hidden] * p.layers, 2 * self.outputs]
        self.layers = [
            (self._normal(p.members, 1, out), self._normal(p.members, into, out) / into**0.5)
            for into, out in pairwise(sizes)
        ]

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """Next states ``[members * each, D]``, the particles of a member one after the other."""
        x = torch.cat([state, action], dim=-1).unflatten(0, (self.members, -1))
        *hidden, last = self.layers
        for bias, weight in hidden:
            x = functional.silu(torch.baddbmm(bias, x, weight))
        bias, weight = last
        mean, log_variance = torch.baddbmm(bias, x, weight).split(self.outputs, dim=-1)
        log_variance = 0.5 - functional.softplus(0.5 - log_variance)
        log_variance = -10.0 + functional.softplus(log_variance + 10.0)
        change = mean + torch.exp(0.5 * log_variance) * self._normal(*mean.shape)
        return state + change.view_as(state)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.rng)


def planner(p: SimpleNamespace) -> MPPI:
    """MPPI with a rollout in each member for every candidate."""
    bound = torch.ones(p.action_dim)
    return MPPI(
        Ensemble(p).step,
        running_cost=lambda state, action: (state**2).sum(-1),
        nx=p.observation_dim,
        noise_sigma=0.25 * torch.eye(p.action_dim),
        num_samples=p.candidates,
        horizon=p.horizon,
        u_min=-bound,
        u_max=bound,
        rollout_samples=p.particles,
    )


def serve(p: SimpleNamespace) -> None:
    """One plan for every line of stdin, then nothing but the rollouts that it asked for."""
    search, state = planner(p), torch.zeros(p.observation_dim)
    for _ in sys.stdin:
        clock, processor = time.perf_counter(), time.thread_time()
        search.command(state)
        seconds = {
            "clock": time.perf_counter() - clock,
            "processor": time.thread_time() - processor,
        }
        processor = time.thread_time()
        search._compute_rollout_costs(search.perturbed_action)
        say({**seconds, "rollouts": time.thread_time() - processor})


def say(answer: dict[str, Any]) -> None:
    """One line of JSON."""
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    say({"search": "mppi", "version": version("pytorch-mppi")})
    serve(SimpleNamespace(**json.loads(sys.argv[1])))
