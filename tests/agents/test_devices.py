"""Agents elsewhere than on the CPU do the same, by a device that refuses what a GPU would."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.agents.dreamers import live, make, small
from tests.second_device import THERE, second_device

from mpc_robot.agents import build_agent
from mpc_robot.agents.devices import place
from mpc_robot.agents.dreamer import Dreamer
from mpc_robot.agents.latent_planning import LatentPlanningConfig
from mpc_robot.agents.sac import SACConfig
from mpc_robot.controllers import CEMConfig
from mpc_robot.envs import get_task, make_env
from mpc_robot.training import checkpoint
from mpc_robot.training.dream_video import dreamt_episode
from mpc_robot.training.evaluation import evaluate
from mpc_robot.training.trust_dream import dream_errors


def placed(agent: Dreamer) -> Dreamer:
    """An agent on the second device, from where it is not to be taken."""
    place(agent, str(THERE))
    return agent


def saved(agent: Dreamer) -> dict[str, bytes]:
    """What a checkpoint would hold."""
    return checkpoint._encode(agent.state_dict())


def test_what_is_here_and_there_does_not_mix() -> None:
    with second_device() as device:
        there = torch.ones(2).to(device)
        assert (2.0 * there + there[0]).cpu().tolist() == [3.0, 3.0]
        assert there[torch.tensor([1])].cpu().tolist() == [1.0]
        with pytest.raises(AssertionError, match="add"):
            _ = there + torch.ones(2)
        with pytest.raises(AssertionError, match="index"):
            _ = torch.ones(2)[there.long()]
        with pytest.raises(AssertionError, match=r"stack|cat"):
            _ = torch.stack([there[0], torch.ones(())])
        with pytest.raises(AssertionError, match="generator"):
            torch.randn(2, generator=torch.Generator(), device=device)
        with pytest.raises(AssertionError, match="generator"):
            there.bernoulli_(generator=torch.Generator())


@pytest.mark.parametrize(
    ("name", "version"),
    [("Cart-v0", "v1"), ("Spot-v0", "v2"), ("Cart-v0", "v3"), ("Spot-v0", "v3")],
)
def test_dreamer_learns_there_what_it_learns_here(name: str, version: str) -> None:
    here, there = (make(name, 1, small(version)) for _ in range(2))
    metrics = live(here, 13)
    with second_device() as device:
        assert live(placed(there), 13) == metrics
        assert saved(there) == saved(here)
        assert there.model.device == device != here.model.device


@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")
def test_dreamer_goes_on_here_where_it_stopped_there() -> None:
    stopped, back, here = (make("Spot-v0", 1, small("v3")) for _ in range(3))
    with second_device():
        live(placed(stopped), 11)
        state = checkpoint._decode(saved(stopped), Path())
        for resumed in (placed(back), here):
            resumed.load_state_dict(state)
        metrics, same = live(stopped, 2), live(back, 2)
        assert same == metrics
        kept = saved(stopped)
        assert saved(back) == kept
    assert live(here, 2) == metrics
    assert saved(here) == kept


@pytest.mark.parametrize("name", ["Spot-v0", "Cart-v0"])
def test_dreamer_acts_plans_and_is_judged_alike(name: str) -> None:
    here, there = make(name), make(name)
    known = judged(here)
    with second_device():
        found = judged(placed(there))
    for one, same in zip(known, found, strict=True):
        np.testing.assert_array_equal(one, same)


def judged(agent: Dreamer) -> list[Any]:
    """What it earns and what it imagines, after a few steps."""
    live(agent, 12)
    planner = agent.planner(LatentPlanningConfig(CEMConfig(20, 4, 2), horizon=4))
    acted, planned = (
        evaluate(agent.task, controller, 1, seed=0) for controller in (agent.controller(), planner)
    )
    rng = torch.Generator().manual_seed(0)
    errors = dream_errors(agent.model, acted.episodes, rng, 3)
    dreamt = dreamt_episode(agent.model, acted.episodes[0], rng, 2)
    return [
        *(evaluation.episodes[0].rewards for evaluation in (acted, planned)),
        *(errors.imagined, errors.reconstructed, errors.reward),
        *(*dreamt.views, dreamt.rewards[1]),
    ]


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("nowhere", "device: expected one that torch can use here, such as cpu, got 'nowhere'"),
        ("meta", "device: expected one that torch can use here, such as cpu, got 'meta'"),
        ("cuda:77", "device: expected one that torch can use here, such as cpu, got 'cuda:77'"),
    ],
)
def test_a_device_that_is_not_there(device: str, message: str) -> None:
    agent = make()
    with pytest.raises(ValueError, match=message):
        place(agent, device)
    assert agent.model.device.type == "cpu"


def test_an_agent_of_the_cpu_only() -> None:
    task = get_task("Cart-v0")
    with closing(make_env(task)) as env:
        agent = build_agent("sac", task, env, SACConfig(), seed=0)
    place(agent, "cpu")
    refused = pytest.raises(ValueError, match="device: expected cpu, where SAC lives, got 'meta'")
    with second_device(), refused:
        place(agent, str(THERE))
