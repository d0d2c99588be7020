"""Settings of Stable-Baselines3's learners, as rl-baselines3-zoo tuned them for each task.

Source: DLR-RM/rl-baselines3-zoo, ``hyperparams/ppo.yml`` @ 208b6fdf, ``sac.yml`` @ c94924e5 and
``dqn.yml`` @ ce95481b. They were tuned on versions 2 to 4 of the MuJoCo tasks; what the zoo leaves
out is Stable-Baselines3's own default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from mpc_robot.errors import UnknownNameError

Activation = Literal["tanh", "relu"]


@dataclass(frozen=True)
class PPOSettings:
    """PPO (arXiv:1707.06347).

    Attributes:
        steps: env steps of a run.
        eval_every: env steps between evaluations, a multiple of ``n_envs``.
        n_envs: environments that are stepped in turn.
        normalize: observations and rewards by their running mean and standard deviation.
        linear: learning rate and clip range fall linearly to 0 over the run.
        hidden: units of the hidden layers of actor and critic each.
        activation: of the hidden layers.
        log_std_init: initial logarithm of the actor's standard deviation.
        ortho_init: orthogonal initial weights.
        n_steps: steps of each environment between updates.
        batch_size: transitions of a minibatch; all that there are, if there are fewer.
        n_epochs: passes over them in an update.
        gamma: discount.
        gae_lambda: of generalised advantage estimation (arXiv:1506.02438).
        learning_rate: of Adam.
        clip_range: of the ratio of new to old probability.
        ent_coef: weight of the entropy.
        vf_coef: weight of the value function's loss.
        max_grad_norm: gradients are clipped to.
        use_sde: explore by noise that depends on the state (gSDE, arXiv:2005.05719).
        sde_sample_freq: steps between draws of that noise; -1 for once in ``n_steps``.
    """

    steps: int = 1_000_000
    eval_every: int = 20_000
    n_envs: int = 1
    normalize: bool = True
    linear: bool = False
    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "tanh"
    log_std_init: float = 0.0
    ortho_init: bool = True
    n_steps: int = 2048
    batch_size: int = 64
    n_epochs: int = 10
    gamma: float = 0.99
    gae_lambda: float = 0.95
    learning_rate: float = 3e-4
    clip_range: float = 0.2
    ent_coef: float = 0.0
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    use_sde: bool = False
    sde_sample_freq: int = -1


@dataclass(frozen=True)
class SACSettings:
    """SAC (arXiv:1801.01290, with the entropy tuned as in arXiv:1812.05905).

    Attributes:
        steps: env steps of a run.
        eval_every: env steps between evaluations.
        hidden: units of the hidden layers of actor and critics each, ReLU.
        learning_starts: random steps at first.
        batch_size: transitions of a minibatch.
        buffer_size: transitions remembered.
        gamma: discount.
        tau: rate at which the target critics follow.
        learning_rate: of Adam.
        train_freq: steps between updates.
        gradient_steps: updates after each ``train_freq`` steps.
    """

    steps: int = 100_000
    eval_every: int = 5_000
    hidden: tuple[int, ...] = (256, 256)
    learning_starts: int = 10_000
    batch_size: int = 256
    buffer_size: int = 1_000_000
    gamma: float = 0.99
    tau: float = 0.005
    learning_rate: float = 3e-4
    train_freq: int = 1
    gradient_steps: int = 1


@dataclass(frozen=True)
class DQNSettings:
    """DQN (arXiv:1312.5602), for discrete actions.

    Attributes:
        steps: env steps of a run.
        eval_every: env steps between evaluations.
        hidden: units of the hidden layers, ReLU.
        learning_starts: random steps at first.
        batch_size: transitions of a minibatch.
        buffer_size: transitions remembered.
        gamma: discount.
        learning_rate: of Adam.
        train_freq: steps between updates.
        gradient_steps: updates after each ``train_freq`` steps.
        target_update_interval: steps between copies to the target network.
        exploration_fraction: share of the run over which random actions become rarer.
        exploration_final_eps: share of random actions after that.
    """

    steps: int = 50_000
    eval_every: int = 1_000
    hidden: tuple[int, ...] = (256, 256)
    learning_starts: int = 1_000
    batch_size: int = 64
    buffer_size: int = 100_000
    gamma: float = 0.99
    learning_rate: float = 2.3e-3
    train_freq: int = 256
    gradient_steps: int = 128
    target_update_interval: int = 10
    exploration_fraction: float = 0.16
    exploration_final_eps: float = 0.04


Settings = PPOSettings | SACSettings | DQNSettings

_WIDE = PPOSettings(
    hidden=(256, 256), activation="relu", log_std_init=-2.0, ortho_init=False, n_steps=512
)

PPO: dict[str, PPOSettings] = {
    "InvertedPendulum-v5": PPOSettings(
        eval_every=2_000,
        n_steps=32,
        n_epochs=5,
        gamma=0.999,
        gae_lambda=0.9,
        learning_rate=2.22425e-4,
        clip_range=0.4,
        ent_coef=1.37976e-7,
        vf_coef=0.19816,
        max_grad_norm=0.3,
    ),
    "InvertedDoublePendulum-v5": PPOSettings(
        eval_every=10_000,
        n_steps=128,
        batch_size=512,
        gamma=0.98,
        gae_lambda=0.8,
        learning_rate=1.55454e-4,
        clip_range=0.4,
        ent_coef=1.05057e-6,
        vf_coef=0.695929,
    ),
    "Reacher-v5": PPOSettings(
        n_steps=512,
        batch_size=32,
        n_epochs=5,
        gamma=0.9,
        gae_lambda=1.0,
        learning_rate=1.04019e-4,
        clip_range=0.3,
        ent_coef=7.52585e-8,
        vf_coef=0.950368,
        max_grad_norm=0.9,
    ),
    "Hopper-v5": replace(
        _WIDE,
        batch_size=32,
        n_epochs=5,
        gamma=0.999,
        gae_lambda=0.99,
        learning_rate=9.80828e-5,
        ent_coef=2.29519e-3,
        vf_coef=0.835671,
        max_grad_norm=0.7,
    ),
    "HalfCheetah-v5": replace(
        _WIDE,
        n_epochs=20,
        gamma=0.98,
        gae_lambda=0.92,
        learning_rate=2.0633e-5,
        clip_range=0.1,
        ent_coef=4.01762e-4,
        vf_coef=0.58096,
        max_grad_norm=0.8,
    ),
    "Walker2d-v5": PPOSettings(
        n_steps=512,
        batch_size=32,
        n_epochs=20,
        learning_rate=5.05041e-5,
        clip_range=0.1,
        ent_coef=5.85045e-4,
        vf_coef=0.871923,
        max_grad_norm=1.0,
    ),
    "Pendulum-v1": PPOSettings(
        steps=100_000,
        eval_every=2_000,
        n_envs=4,
        normalize=False,
        n_steps=1024,
        gamma=0.9,
        learning_rate=1e-3,
        use_sde=True,
        sde_sample_freq=4,
    ),
    "CartPole-v1": PPOSettings(
        steps=100_000,
        eval_every=2_000,
        n_envs=8,
        normalize=False,
        linear=True,
        n_steps=32,
        batch_size=256,
        n_epochs=20,
        gamma=0.98,
        gae_lambda=0.8,
        learning_rate=1e-3,
    ),
}
SAC: dict[str, SACSettings] = {
    **dict.fromkeys(
        ("Hopper-v5", "HalfCheetah-v5", "Walker2d-v5"),
        SACSettings(),  # the zoo's steps are 1,000,000
    ),
    # Not in the zoo: solved before its 10,000 random steps are over.
    **dict.fromkeys(
        ("InvertedPendulum-v5", "InvertedDoublePendulum-v5", "Reacher-v5"),
        SACSettings(steps=30_000, eval_every=1_000, learning_starts=1_000),
    ),
    "Pendulum-v1": SACSettings(
        steps=20_000, eval_every=1_000, learning_starts=100, learning_rate=1e-3
    ),
}
DQN: dict[str, DQNSettings] = {"CartPole-v1": DQNSettings()}

BASELINES: dict[str, Mapping[str, Settings]] = {"sb3-ppo": PPO, "sb3-sac": SAC, "sb3-dqn": DQN}
"""Name of the learner -> its settings by task."""


def baseline_settings(agent: str, task: str) -> Settings:
    """The settings of a learner for a task.

    Raises:
        UnknownNameError: if there is no such learner, or the zoo has no settings for the task.
    """
    if agent not in BASELINES:
        raise UnknownNameError("baseline", agent, BASELINES)
    if task not in BASELINES[agent]:
        raise UnknownNameError(f"task of {agent}", task, BASELINES[agent])
    return BASELINES[agent][task]
