"""Double-horizon MBPO (OpenReview HRvHCd03HM): value gradients through an ensemble.

Two horizons, for two purposes. Long rollouts of the policy in the model, 20 steps from replayed
states, only tell where the policy goes: their states are the distribution that it learns on. Short
rollouts, 8 steps from there, are differentiated: the policy climbs the gradient of their return,
closed by critics (SAC-SVG, arXiv:2008.12775), and the critics learn from their expanded values
(MVE, arXiv:1803.00101). One update per env step, and one setting for all tasks, but for the length
of the warm-up.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mpc_robot.agents.actor_critic import ActorCriticConfig
from mpc_robot.agents.base import Metrics
from mpc_robot.agents.guided_planning import GuidedPlanningConfig, guided_planner
from mpc_robot.agents.imagination import Imagined, imagine, without_reward
from mpc_robot.agents.off_policy import OffPolicyAgent
from mpc_robot.controllers.mpc import MPC
from mpc_robot.dynamics.ensemble import EnsembleConfig, ProbabilisticEnsemble
from mpc_robot.dynamics.ensemble_fit import FitConfig, fit
from mpc_robot.envs.base import EnvSpec, Task
from mpc_robot.errors import ModelDivergedError, require


@dataclass(frozen=True)
class DHMBPOConfig:
    """Settings of double-horizon MBPO; the paper's in brackets.

    Attributes:
        actor_critic: networks and their rates [critics of 3 x 256, tau 0.005].
        ensemble: the model [8 members of 3 x 256 with layer norm, and one noise for all inputs].
        fit: how the model learns [batches of 2,048, until a hold-out improves no more]; half of
            it from where the policy has been of late. The mean learns hard steps as well as easy
            ones [by one noise for all], for they are where a robot touches the ground.
        learn_reward: learn the reward even where the task gives it [yes].
        discount: of rewards per control step [0.995].
        batch_size: states per update [256]; with the longer horizon about as many imagined steps.
        training_horizon: steps of the rollouts that are differentiated [5]: the more of a return is
            imagined, the less of it hangs on critics, which know little yet.
        critic_batch_size: imagined steps, of those rollouts, that the critics learn from [all].
        pessimism: standard deviations among the critics that the policy takes off what they hold of
            where a rollout ends [0].
        distribution_horizon: steps of the rollouts that tell where the policy goes [20].
        rollouts: rollouts of the latter kind at once [256].
        rollout_every: updates between them [20].
        rollouts_kept: of them that are remembered, in times of ``rollout_every`` [10].
        updates_per_step: per env step [1].
        warmup_steps: random steps before learning begins; as many updates make up for them.
        fit_every: env steps between fits of the model, at most.
        fit_growth: share by which the data have grown that asks for a fit sooner, while they are
            few.
    """

    actor_critic: ActorCriticConfig = field(
        default_factory=lambda: ActorCriticConfig(
            critics=5, activation="silu", layer_norm=True, temperature=0.1, tau=0.01
        )
    )
    ensemble: EnsembleConfig = field(
        default_factory=lambda: EnsembleConfig(
            members=8,
            elites=8,
            hidden=256,
            layer_norm=True,
            propagation="ts1",
            particles=8,
        )
    )
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(
            batch_size=256,
            max_steps=160,
            holdout=0.1,
            patience=3,
            recent_share=0.5,
            loss="faithful",
        )
    )
    learn_reward: bool = True
    discount: float = 0.995
    batch_size: int = 160
    critic_batch_size: int = 512
    training_horizon: int = 8
    pessimism: float = 1.0
    distribution_horizon: int = 20
    rollouts: int = 256
    rollout_every: int = 20
    rollouts_kept: int = 10
    updates_per_step: int = 1
    warmup_steps: int = 1_000
    fit_every: int = 250
    fit_growth: float = 0.1

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        require(0.0 < self.discount < 1.0, "discount", "in (0, 1)", self.discount)
        require(0.0 < self.fit_growth < inf, "fit_growth", "positive", self.fit_growth)
        require(0.0 <= self.pessimism < inf, "pessimism", "not negative", self.pessimism)
        require(self.warmup_steps >= 2, "warmup_steps", "at least 2", self.warmup_steps)
        for name in (
            "batch_size",
            "critic_batch_size",
            "training_horizon",
            "distribution_horizon",
            "rollouts",
            "rollout_every",
            "rollouts_kept",
            "updates_per_step",
            "fit_every",
        ):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))


def expanded_values(path: Imagined, last: Tensor, temperature: Tensor, discount: float) -> Tensor:
    """What each action of a rollout is worth, ``[H, B]``, if its end is worth ``last [B]``.

    Model-based value expansion (arXiv:1803.00101), from the end backwards: an action is worth its
    reward and, if the episode went on, the discounted worth of the next one less the temperature
    times its log-probability.
    """
    values, beyond = [], last
    costs = (temperature * path.log_prob[:-1]).unbind()
    steps = zip(path.reward.unbind(), (discount * path.continues).unbind(), costs, strict=True)
    for reward, kept, cost in reversed(list(steps)):
        values.append(torch.addcmul(reward, kept, beyond))
        beyond = values[-1] - cost
    return torch.stack(values[::-1])


def policy_loss(path: Imagined, last: Tensor, temperature: Tensor, discount: float) -> Tensor:
    """Less the mean soft return from where rollouts begin (arXiv:2008.12775, eq. 8)."""
    values = expanded_values(path, last, temperature, discount)
    return -(values[0] - temperature * path.log_prob[0]).mean()


def cautious(values: Tensor, pessimism: float) -> Tensor:
    """Mean of ``values [M, B]`` less so many of their standard deviations, ``[B]``."""
    spread, mean = torch.std_mean(values, dim=0, correction=0)
    return mean - pessimism * spread


def critic_loss(values: Tensor, target: Tensor, alive: Tensor) -> Tensor:
    """Squared errors of ``values [M, B]``, mean over the rows that are alive, sum over M."""
    errors = (values - target) ** 2 * alive
    return 0.5 * errors.sum() / alive.sum().clamp(min=1.0)


def value_range(rewards: npt.NDArray[np.float64], discount: float) -> tuple[float, float]:
    """What an endless episode of the least, and of the greatest, of ``rewards [n]`` is worth.

    An episode that ends earns nothing more, so 0 is within.
    """
    low, high = min(rewards.min(), 0.0), max(rewards.max(), 0.0)
    return float(low / (1.0 - discount)), float(high / (1.0 - discount))


class DHMBPO(OffPolicyAgent):
    """The Agent: a replay of real steps, an ensemble fitted to it, and a policy trained inside.

    Attributes:
        model: the ensemble.
        updates: of policy and critics so far.
        bounds: least and greatest value that there can be, see :func:`value_range`.
    """

    def __init__(self, task: Task, spec: EnvSpec, config: DHMBPOConfig, seed: int) -> None:
        """An agent that knows nothing yet."""
        super().__init__(task, spec, config.actor_critic, seed, warmup_steps=config.warmup_steps)
        self.config = config
        imagined = without_reward(task) if config.learn_reward else task
        self.model = ProbabilisticEnsemble(imagined, spec, config.ensemble, self.rng)
        self.model.requires_grad_(False)
        self.updates = self._fitted_at = 0
        self.bounds = (-inf, inf)
        self._visited: deque[Tensor] = deque(maxlen=config.rollouts_kept)

    def update(self) -> Metrics:
        """Fit the model where due, then improve policy and critics inside it."""
        since = self.steps - self.config.warmup_steps
        if since < 0:
            return {}
        metrics = self.fit_model() if self._fit_is_due() else {}
        due = self.config.updates_per_step * (self.steps if since == 0 else 1)  # for warm-up too
        for _ in range(due):
            if self.updates % self.config.rollout_every == 0:
                self.visit()
            metrics |= self.improve()
            self.updates += 1
        return metrics

    def planner(self, config: GuidedPlanningConfig | None = None) -> MPC:
        """A controller that plans around the policy, in the model that it was trained in."""
        return guided_planner(self.model, self.networks, self.spec, self.config.discount, config)

    def state_dict(self) -> dict[str, Any]:
        """Besides what all such agents have, the model, imagined states and counters."""
        return super().state_dict() | {
            "model": dict(self.model.state_dict()),
            "visited": {str(i): states for i, states in enumerate(self._visited)},
            "updates": self.updates,
            "fitted_at": self._fitted_at,
            "bounds": torch.tensor(self.bounds, dtype=torch.float64),
        }

    def _load(self, state: dict[str, Any]) -> None:
        super()._load(state)
        self.model.load_state_dict(state["model"])
        self.updates, self._fitted_at = state["updates"], state["fitted_at"]
        low, high = state["bounds"].tolist()
        self.bounds = (low, high)
        visited = state["visited"]
        self._visited.clear()
        self._visited.extend(visited[str(i)] for i in range(len(visited)))

    def _fit_is_due(self) -> bool:
        """Whether there are so many steps, or so many more for what there were, since the last."""
        grown = (1.0 + self.config.fit_growth) * self._fitted_at
        return self.steps >= min(self._fitted_at + self.config.fit_every, grown)

    def fit_model(self) -> Metrics:
        """Fit the model to all that was seen; one that diverged stays as it was before."""
        self._fitted_at = self.steps
        data = self.replay.all()
        self.model.requires_grad_(True)
        try:
            metrics = fit(self.model, data, self.config.fit, self.rng)
        except ModelDivergedError:
            return {"model/diverged": 1.0}
        finally:
            self.model.requires_grad_(False)
        self.networks.features.fit(torch.as_tensor(data.observation, dtype=torch.float32))
        self.bounds = value_range(data.reward, self.config.discount)
        return metrics

    @torch.no_grad()
    def visit(self) -> None:
        """See where the policy goes from where it has been."""
        config = self.config
        start = self.replay.sample(config.rollouts, self.rng).observation
        path = imagine(self.model, self.networks, start, config.distribution_horizon, self.rng)
        sound = (path.alive > 0) & path.observation.isfinite().all(dim=-1)
        self._visited.append(path.observation[sound])

    def improve(self) -> Metrics:
        """One step of critics, policy and temperature, on one batch of short rollouts."""
        config, visited = self.config, torch.cat(tuple(self._visited))
        start = visited[torch.randint(len(visited), (config.batch_size,), generator=self.rng)]
        path = imagine(self.model, self.networks, start, config.training_horizon, self.rng)
        return self._learn_values(path) | self._learn_policy(path)

    def _learn_values(self, path: Imagined) -> Metrics:
        """Let the critics regress on the expanded values of some of the imagined steps."""
        networks, temperature = self.networks, self.networks.temperature
        with torch.no_grad():
            end = networks.target_value(path.observation[-1], path.action[-1], self.rng)
            last = end.clamp(*self.bounds) - temperature * path.log_prob[-1]
            targets = expanded_values(path, last, temperature, self.config.discount).flatten()
            drawn = torch.randperm(len(targets), generator=self.rng)
            rows = drawn[: self.config.critic_batch_size]
            seen = path.observation[:-1].flatten(0, 1)[rows]
            done = path.action[:-1].flatten(0, 1)[rows]
            networks.follow_scale(targets)
        values = networks.values(seen, done, dropping=self.rng)
        loss = critic_loss(values, targets[rows], path.alive[:-1].flatten()[rows])
        networks.learn_values(loss)
        return {"critic/loss": loss.item(), "critic/value": targets.mean().item()}

    def _learn_policy(self, path: Imagined) -> Metrics:
        """Let the policy climb the gradient of its imagined return, and tune the temperature."""
        networks, temperature = self.networks, self.networks.temperature
        values = networks.values(path.observation[-1], path.action[-1])
        last = cautious(values, self.config.pessimism) - temperature * path.log_prob[-1]
        loss = policy_loss(path, last, temperature, self.config.discount)
        networks.learn_policy(loss)
        networks.learn_temperature(path.log_prob[0])
        return {
            "policy/loss": loss.item(),
            "policy/entropy": -path.log_prob[0].mean().item(),
            "policy/temperature": temperature.item(),
        }
