"""MBPO (arXiv:1906.08253): SAC on short rollouts of an ensemble that branch off from real steps.

Now and then an ensemble is fitted to all real steps. From states among them the policy as it then
is goes on in the model, for so few steps that the model's errors do not add up. SAC learns from
these imagined steps and a few real ones: many updates for every step in the world.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mpc_robot.agents.actor_critic import ActorCritic, ActorCriticConfig
from mpc_robot.agents.base import Metrics
from mpc_robot.agents.imagination import without_reward
from mpc_robot.agents.off_policy import OffPolicyAgent
from mpc_robot.agents.sac import update_critics, update_policy
from mpc_robot.data.replay import Batch
from mpc_robot.dynamics.ensemble import EnsembleConfig, ProbabilisticEnsemble
from mpc_robot.dynamics.ensemble_fit import FitConfig, fit
from mpc_robot.envs.base import EnvSpec, Task
from mpc_robot.errors import ModelDivergedError, require


@dataclass(frozen=True)
class MBPOConfig:
    """Settings of MBPO; those of the paper (arXiv:1906.08253) and its code in brackets.

    Attributes:
        actor_critic: networks and their rates [those of SAC].
        ensemble: the model [7 members, 5 elites, 4 x 200].
        fit: how the model learns [until a hold-out of 20% improves no more].
        learn_reward: learn the reward even where the task gives it [yes].
        discount: of rewards per control step [0.99].
        batch_size: steps per update [256].
        real_share: of a batch, the share that is real [0.05].
        updates_per_step: of critics and policy per env step [10 to 40].
        warmup_steps: random steps before learning begins [5,000].
        fit_every: env steps between fits of the model [250].
        imagined_steps: model steps after each fit, in as many rollouts as they are enough for
            [100,000 rollouts, whatever their length]: memory and time do not grow with the length.
        fits_kept: fits whose imagined steps are remembered [4].
        rollout_lengths: model steps of a rollout at first and at last [1, and up to 25].
        rollout_growth: env steps after warm-up from which and to which rollouts grow [20,000 and
            150,000].
    """

    actor_critic: ActorCriticConfig = field(default_factory=ActorCriticConfig)
    ensemble: EnsembleConfig = field(
        default_factory=lambda: EnsembleConfig(members=7, elites=5, layers=4, propagation="ts1")
    )
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(
            weight_decay=5e-5, batch_size=256, max_steps=500, patience=5, holdout=0.2
        )
    )
    learn_reward: bool = True
    discount: float = 0.99
    batch_size: int = 256
    real_share: float = 0.05
    updates_per_step: int = 20
    warmup_steps: int = 5_000
    fit_every: int = 250
    imagined_steps: int = 100_000
    fits_kept: int = 4
    rollout_lengths: tuple[int, int] = (1, 1)
    rollout_growth: tuple[int, int] = (20_000, 150_000)

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        require(0.0 < self.discount < 1.0, "discount", "in (0, 1)", self.discount)
        require(0.0 <= self.real_share <= 1.0, "real_share", "in [0, 1]", self.real_share)
        require(self.warmup_steps >= 2, "warmup_steps", "at least 2", self.warmup_steps)
        for name in ("batch_size", "updates_per_step", "fit_every", "imagined_steps", "fits_kept"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        first, last = self.rollout_lengths
        grows = 1 <= first <= last <= self.imagined_steps
        expected = f"1 or more, not falling, at most {self.imagined_steps} imagined_steps"
        require(grows, "rollout_lengths", expected, self.rollout_lengths)
        begin, end = self.rollout_growth
        require(0 <= begin < end, "rollout_growth", "0 or more, rising", self.rollout_growth)


def rollout_length(lengths: tuple[int, int], growth: tuple[int, int], steps: int) -> int:
    """Model steps of a rollout after so many env steps (arXiv:1906.08253, appendix C).

    From the first length to the last, linear between two env steps and rounded down.
    """
    (first, last), (begin, end) = lengths, growth
    passed = min(max(steps - begin, 0), end - begin)
    return first + (last - first) * passed // (end - begin)


@torch.no_grad()
def branch(
    model: ProbabilisticEnsemble,
    networks: ActorCritic,
    start: Tensor,
    length: int,
    rng: torch.Generator,
) -> Batch:
    """The steps of rollouts under the policy from ``start [B, D]`` (Algorithm 2, lines 6 to 8).

    Every step of every rollout is by an elite drawn anew (TS1, arXiv:1805.12114). A rollout ends
    where its episode would; nothing is kept of what is not finite.
    """
    steps: list[Batch] = []
    state = start
    while len(steps) < length and len(state) > 0:
        action, _ = networks.act(state, rng)
        following = model.step(state, action, rng)
        reached, reward, continues = following.state, following.reward, following.continues
        step = Batch(state, action, reward, reached, continues)
        sound = reached.isfinite().all(dim=-1) & reward.isfinite()
        steps.append(rows(step, sound))
        state = reached[sound & (torch.rand(len(state), generator=rng) < continues)]
    return joined(*steps)


def joined(*batches: Batch) -> Batch:
    """The steps of several batches, one batch after the other."""
    names = vars(batches[0])
    return Batch(**{name: torch.cat([getattr(b, name) for b in batches]) for name in names})


def no_steps(spec: EnvSpec) -> Batch:
    """A batch of no steps at all."""
    states, actions = torch.empty(0, spec.observation_dim), torch.empty(0, spec.action_dim)
    return Batch(states, actions, torch.empty(0), states, torch.empty(0))


def rows(batch: Batch, chosen: Tensor | slice) -> Batch:
    """Some of a batch's steps."""
    return Batch(**{name: column[chosen] for name, column in vars(batch).items()})


class MBPO(OffPolicyAgent):
    """The Agent: real steps, an ensemble fitted to them, what it imagines, and SAC's networks."""

    def __init__(self, task: Task, spec: EnvSpec, config: MBPOConfig, seed: int) -> None:
        """An agent that knows nothing yet."""
        super().__init__(task, spec, config.actor_critic, seed, warmup_steps=config.warmup_steps)
        self.config = config
        imagined = without_reward(task) if config.learn_reward else task
        self.model = ProbabilisticEnsemble(imagined, spec, config.ensemble, self.rng)
        self.imagined = no_steps(spec)

    def update(self) -> Metrics:
        """Where due fit the model and branch rollouts off; then learn from them by SAC."""
        since = self.steps - self.config.warmup_steps
        if since < 0:
            return {}
        metrics: Metrics = {}
        if since % self.config.fit_every == 0:
            metrics = self._fit() | self._imagine(since)
        for _ in range(self.config.updates_per_step):
            batch = self._batch()
            metrics |= update_critics(self.networks, batch, self.config.discount, self.rng)
            metrics |= update_policy(self.networks, batch.observation, self.rng)
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Besides what all such agents have, the model and what was imagined."""
        own = {"model": dict(self.model.state_dict()), "imagined": dict(vars(self.imagined))}
        return super().state_dict() | own

    def _load(self, state: dict[str, Any]) -> None:
        super()._load(state)
        self.model.load_state_dict(state["model"])
        self.imagined = Batch(**{name: state["imagined"][name] for name in vars(self.imagined)})

    def _fit(self) -> Metrics:
        """Fit the model to all that was seen; one that diverged stays as it was before."""
        try:
            return fit(self.model, self.replay.all(), self.config.fit, self.rng)
        except ModelDivergedError:
            return {"model/diverged": 1.0}

    def _imagine(self, since: int) -> Metrics:
        """Branch rollouts off from real states; forget the oldest of what was imagined before."""
        config = self.config
        length = rollout_length(config.rollout_lengths, config.rollout_growth, since)
        start = self.replay.sample(config.imagined_steps // length, self.rng).observation
        steps = branch(self.model, self.networks, start, length, self.rng)
        most = config.fits_kept * config.imagined_steps
        self.imagined = rows(joined(self.imagined, steps), slice(-most, None))
        return {"model/rollout_length": float(length), "model/imagined": float(len(steps.reward))}

    def _batch(self) -> Batch:
        """Imagined steps and a few real ones; real ones alone if nothing could be imagined."""
        config, held = self.config, len(self.imagined.reward)
        real = int(config.batch_size * config.real_share) if held else config.batch_size
        drawn = torch.rand(config.batch_size - real, generator=self.rng, dtype=torch.float64)
        imagined = rows(self.imagined, (drawn * held).long())
        return joined(imagined, self.replay.sample(real, self.rng))
