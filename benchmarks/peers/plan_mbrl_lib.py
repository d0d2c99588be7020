"""Plans with mbrl-lib's PETS whenever a line comes in; runs where mbrl-lib is installed.

python plan_mbrl_lib.py PROBLEM, the fields of benchmarks.planning.Problem in JSON
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mbrl.models import GaussianMLP, ModelEnv, OneDTransitionRewardModel
from mbrl.planning import CEMOptimizer
from torch import Tensor


def planner(p: SimpleNamespace) -> tuple[CEMOptimizer, ModelEnv]:
    """CEM with the settings of PETS, in an untrained model with TSinf."""
    network = GaussianMLP(
        in_size=p.observation_dim + p.action_dim,
        out_size=p.observation_dim,
        device="cpu",
        num_layers=p.layers,
        ensemble_size=p.members,
        hid_size=p.hidden,
        propagation_method="fixed_model",
        activation_fn_cfg={"_target_": "torch.nn.SiLU"},
    )
    model = OneDTransitionRewardModel(network, normalize=True, learned_rewards=False)
    world = ModelEnv(
        SimpleNamespace(observation_space=None, action_space=None),
        model,
        termination_fn=lambda action, after: torch.zeros(len(after), 1, dtype=torch.bool),
        reward_fn=lambda action, after: -(after**2).sum(-1, keepdim=True),
        generator=torch.Generator().manual_seed(0),
    )
    bound = np.ones((p.horizon, p.action_dim))
    search = CEMOptimizer(
        num_iterations=p.iterations,
        elite_ratio=p.elites / p.candidates,
        population_size=p.candidates,
        lower_bound=(-bound).tolist(),
        upper_bound=bound.tolist(),
        alpha=0.1,
        device=torch.device("cpu"),
        return_mean_elites=True,
    )
    return search, world


def serve(p: SimpleNamespace) -> None:
    """One plan for every line of stdin, then nothing but the rollouts that it asked for."""
    search, world = planner(p)
    observation = np.zeros(p.observation_dim, dtype=np.float32)
    plan = torch.zeros(p.horizon, p.action_dim)
    asked: list[Tensor] = []

    def score(actions: Tensor) -> Tensor:
        """Score ``actions[N, H, A]``, and note them."""
        asked.append(actions)
        return world.evaluate_action_sequences(actions, observation, p.particles)

    for _ in sys.stdin:
        asked.clear()
        clock, processor = time.perf_counter(), time.thread_time()
        plan = search.optimize(score, x0=plan)
        seconds = {
            "clock": time.perf_counter() - clock,
            "processor": time.thread_time() - processor,
        }
        processor = time.thread_time()
        for actions in asked:
            world.evaluate_action_sequences(actions, observation, p.particles)
        say({**seconds, "rollouts": time.thread_time() - processor})


def say(answer: dict[str, Any]) -> None:
    """One line of JSON."""
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    say({"search": "cem", "version": version("mbrl")})
    serve(SimpleNamespace(**json.loads(sys.argv[1])))
