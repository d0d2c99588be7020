"""Small Dreamers, how they live, and settings of small World Models."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from mpc_robot.agents.behaviour import BehaviourConfig
from mpc_robot.agents.dreamer import Dreamer, DreamerConfig, senses_spec
from mpc_robot.agents.dreamer_presets import VERSIONS
from mpc_robot.agents.world_models import WorldModelsConfig
from mpc_robot.data.replay import Experience
from mpc_robot.dynamics.mdn_rnn import MDNRNNConfig
from mpc_robot.dynamics.rssm import RSSMConfig
from mpc_robot.envs import get_task, make_env
from mpc_robot.nn.actor import ActorConfig
from mpc_robot.nn.latents import CategoricalConfig
from mpc_robot.nn.senses import SensesConfig
from mpc_robot.nn.vae import VAEConfig

TINY = WorldModelsConfig(
    vae=VAEConfig(latents=2, channels=(4,), strides=(4,)),
    memory=MDNRNNConfig(hidden=4, mixtures=2, units=4),
    rounds=2,
    collect_steps=40,
    hold=5,
    capacity=2_000,
    updates_per_step=2,
    vae_updates=30,
    vae_batch=4,
    memory_updates=31,
    memory_batch=2,
    memory_length=6,
    generations=15,
    population=4,
    rollouts=2,
    begin_within=3,
    dream_steps=5,
)
"""World Models of two short rounds."""

SMALL = DreamerConfig(
    RSSMConfig(
        latent=CategoricalConfig(3, 4),
        senses=SensesConfig((4, 4), (4, 4), units=8, layers=1),
        deter=8,
        hidden=8,
        units=8,
        explained=0.5,
    ),
    behaviour=BehaviourConfig(ActorConfig((8,)), critic_hidden=(8,), starts=2, horizon=2),
    batch_size=3,
    length=4,
    update_every=3,
    warmup_steps=10,
    pretrain=2,
)


def small(version: str) -> DreamerConfig:
    """A version of Dreamer, but small."""
    shape = replace(VERSIONS[version].model, deter=8, hidden=8, units=8)
    model = replace(shape, senses=SMALL.model.senses)
    config = replace(VERSIONS[version], model=model, batch_size=3, length=4, warmup_steps=10)
    return replace(config, behaviour=replace(config.behaviour, starts=2, horizon=2), pretrain=2)


def make(name: str = "Spot-v0", seed: int = 0, config: DreamerConfig = SMALL) -> Dreamer:
    task = get_task(name)
    with closing(make_env(task)) as env:
        return Dreamer(task, senses_spec(env), config, seed)


def live(agent: Dreamer, steps: int) -> list[dict[str, float]]:
    """The metrics of so many steps in the agent's task, in episodes from seed 0 on."""
    lived: list[dict[str, float]] = []
    with closing(make_env(agent.task)) as env:
        while len(lived) < steps:
            observation, ended = env.reset(seed=len(lived))[0], False
            while not ended and len(lived) < steps:
                action = agent.act(observation, explore=True)
                reached, reward, terminated, truncated, _ = env.step(action)
                ended = terminated or truncated
                step = Experience(
                    observation, action, float(reward), reached, terminated, truncated
                )
                agent.observe(step)
                lived.append(agent.update())
                observation = reached
    return lived
