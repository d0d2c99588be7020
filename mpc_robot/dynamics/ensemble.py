"""Probabilistic ensemble (PETS, arXiv:1805.12114): several networks that each give a Gaussian.

A member predicts the change of the observation, and the reward where the task does not give it, as
a diagonal Gaussian: its variance is the world's own noise (aleatoric). Where members disagree, the
data were too few (epistemic). Both are carried along imagined trajectories by particles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from mpc_robot.data.replay import Experience
from mpc_robot.dynamics.base import Sensed, Trajectories, Transition
from mpc_robot.dynamics.folded import FoldedEnsemble, draw_noise
from mpc_robot.envs.base import EnvSpec, Task
from mpc_robot.errors import require, require_choices
from mpc_robot.nn.ensemble_mlp import EnsembleMLP
from mpc_robot.nn.normalizer import Normalizer

Propagation = Literal["ts1", "tsinf", "mean", "moment"]


@dataclass(frozen=True)
class EnsembleConfig:
    """The shape of the model and how it imagines; defaults of PETS (arXiv:1805.12114) in brackets.

    Attributes:
        members: networks, each trained from weights of its own [5].
        elites: members with the least hold-out error that are used for prediction [all].
        hidden: width of a hidden layer [200 to 500].
        layers: hidden layers [3 to 4].
        layer_norm: normalise what hidden layers give [no]: a step away from the data changes less.
        propagation: ``ts1`` draws a member for every particle anew at each step, ``tsinf`` keeps
            it for the whole trajectory, ``mean`` follows the members' mean without noise, and
            ``moment`` matches a Gaussian to the particles after each step.
        particles: particles per candidate, a multiple of ``elites`` [20]; ``mean`` needs one.
        inference_dtype: ``bfloat16`` plans in half precision where the processor is faster so.
    """

    members: int = 5
    elites: int = 5
    hidden: int = 200
    layers: int = 3
    layer_norm: bool = False
    propagation: Propagation = "tsinf"
    particles: int = 5
    inference_dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        require_choices(self)
        for name in ("members", "elites", "hidden", "layers", "particles"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        members, elites = self.members, self.elites
        require(elites <= members, "elites", f"at most {members} members", elites)
        dealt = self.propagation == "mean" or self.particles % elites == 0
        require(dealt, "particles", f"a multiple of {elites} elites", self.particles)


@dataclass(frozen=True)
class Prediction:
    """What every elite says of B inputs; O is the observation, then the reward if it is learned.

    Attributes:
        mean: expected next values ``[E, B, O]``.
        variance: aleatoric variance of each ``[E, B, O]``.
        continues: probability that the episode goes on ``[E, B]``; ones where the task knows.
    """

    mean: Tensor
    variance: Tensor
    continues: Tensor

    @property
    def aleatoric(self) -> Tensor:
        """The world's own noise: the members' mean variance ``[B, O]``."""
        return self.variance.mean(dim=0)

    @property
    def disagreement(self) -> Tensor:
        """What more data could tell: the variance of the members' means ``[B, O]``."""
        return self.mean.var(dim=0, correction=0)


class ProbabilisticEnsemble(nn.Module):
    """A learned Dynamics over a task's observations; its state is the observation ``[B, D]``."""

    elites: Tensor
    observes: Sensed = "observation"

    def __init__(
        self, task: Task, spec: EnvSpec, config: EnsembleConfig, rng: torch.Generator
    ) -> None:
        """``rng`` draws the initial weights."""
        super().__init__()
        self.task, self.spec, self.config = task, spec, config
        everything = tuple(range(spec.observation_dim))
        inputs = everything if task.model_inputs is None else task.model_inputs
        known = set(inputs) <= set(everything)
        require(known, "model_inputs", f"indices below {spec.observation_dim}", inputs)
        self.input_indices = torch.tensor(inputs, dtype=torch.long)
        self.outputs = spec.observation_dim + (task.reward is None)
        width = 2 * self.outputs + (task.terminated is None)
        features = len(inputs) + spec.action_dim
        sizes = [features, *[config.hidden] * config.layers, width]
        self.network = EnsembleMLP(config.members, sizes, rng, layer_norm=config.layer_norm)
        self.input_normalizer = Normalizer(features)
        self.target_normalizer = Normalizer(self.outputs)
        self.max_log_variance = nn.Parameter(torch.full((self.outputs,), 0.5))
        self.min_log_variance = nn.Parameter(torch.full((self.outputs,), -10.0))
        self.register_buffer("elites", torch.arange(config.elites))
        self._folded: FoldedEnsemble | None = None
        self.register_load_state_dict_post_hook(_forget_folded)  # type: ignore[no-untyped-call]

    # What the model learns from.

    def features(self, observation: Tensor, action: Tensor) -> Tensor:
        """Network inputs ``[..., F]``: the observation entries it may see, and the action."""
        return torch.cat([observation[..., self.input_indices], action], dim=-1)

    def targets(self, data: Experience) -> Tensor:
        """What a member learns to predict ``[n, O]``: changes of observation, then reward."""
        change = torch.as_tensor(data.next_observation - data.observation, dtype=torch.float32)
        if self.task.reward is not None:
            return change
        return torch.cat([change, torch.as_tensor(data.reward, dtype=torch.float32)[:, None]], -1)

    def nll(self, features: Tensor, targets: Tensor, terminated: Tensor) -> Tensor:
        """Negative log-likelihood of each member ``[M]``, mean over rows and outputs.

        ``features [M, B, F]``, ``targets [M, B, O]`` in the data's units and ``terminated [M, B]``.
        Of a Gaussian, plus the Bernoulli of termination where that is learned.
        """
        mean, log_variance, logit = self.heads(features)
        gaussian = _gaussian_nll(self.target_normalizer(targets) - mean, log_variance)
        return gaussian.mean(dim=(1, 2)) + self._termination_nll(logit, terminated)

    def faithful_loss(self, features: Tensor, targets: Tensor, terminated: Tensor) -> Tensor:
        """As :meth:`nll`, but of the mean by least squares ``[M]`` (arXiv:2212.09184).

        By the likelihood alone, rows that are hard to predict are called noise and let go. Here all
        rows count alike for the mean, and outputs by what they are typically wrong by; the noise is
        what is most likely for the mean as it is.
        """
        mean, log_variance, logit = self.heads(features)
        error: Tensor = self.target_normalizer(targets) - mean
        typical = log_variance.detach().exp().mean(dim=1, keepdim=True)
        gaussian = 0.5 * error**2 / typical + _gaussian_nll(error.detach(), log_variance)
        return gaussian.mean(dim=(1, 2)) + self._termination_nll(logit, terminated)

    def _termination_nll(self, logit: Tensor, terminated: Tensor) -> Tensor:
        """Of a Bernoulli, ``[M]``; 0 where the task knows when it ends."""
        if self.task.terminated is not None:
            return logit.new_zeros(len(logit))
        nll = functional.binary_cross_entropy_with_logits(logit, terminated, reduction="none")
        return nll.mean(dim=1)

    def squared_error(self, features: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error of each member's mean ``[M]``, in units of the targets' spread."""
        error: Tensor = self.target_normalizer(targets) - self.heads(features)[0]
        return (error**2).mean(dim=(1, 2))

    def heads(
        self, features: Tensor, members: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised mean and log variance ``[M, B, O]`` and logit of termination ``[M, B]``."""
        raw = self.network(self.input_normalizer(features), members)
        mean, log_variance = raw[..., : 2 * self.outputs].split(self.outputs, dim=-1)
        return mean, self.bounded(log_variance), raw[..., -1]

    def bounded(self, log_variance: Tensor) -> Tensor:
        """Log variance kept softly within its learned bounds (arXiv:1805.12114, appendix A.1)."""
        high, low = self.max_log_variance, self.min_log_variance
        log_variance = high - functional.softplus(high - log_variance)
        return low + functional.softplus(log_variance - low)

    # What it answers.

    def predict(self, observation: Tensor, action: Tensor) -> Prediction:
        """Every elite's Gaussian over the next observation and learned reward, differentiable.

        ``observation [B, D]``, ``action [B, A]``.
        """
        features = self.features(observation, action).expand(len(self.elites), -1, -1)
        return self._prediction(observation, *self.heads(features, self.elites))

    def start(self, sensed: npt.NDArray[np.float64], num: int) -> Tensor:
        """``num`` rows of the observation ``[D]``."""
        return torch.as_tensor(sensed, dtype=torch.float32).expand(num, -1)

    def step(self, state: Tensor, action: Tensor, rng: torch.Generator) -> Transition[Tensor]:
        """One sampled step of B rows, each by an elite drawn at random (TS1), differentiable."""
        batch, elites = len(state), len(self.elites)
        chosen = None if elites == self.config.members else self.elites
        per_elite = -(-batch // elites)
        order = torch.randperm(per_elite * elites, generator=rng)
        rows = order % batch
        dealt = self.features(state, action).index_select(0, rows).view(elites, per_elite, -1)
        mean, log_variance, logit = self.heads(dealt, chosen)
        noise = torch.randn(mean.shape, generator=rng)
        back = order.argsort()[:batch]
        drawn = torch.addcmul(mean, (0.5 * log_variance).exp(), noise).flatten(0, 1)[back]
        change = torch.addcmul(self.target_normalizer.mean, self.target_normalizer.std, drawn)
        return self._transition(state, action, change, logit.flatten()[back])

    def rollout(self, state: Tensor, actions: Tensor, rng: torch.Generator) -> Trajectories:
        """Particles of every candidate under ``actions[N, H, A]``, starting from ``state[N, D]``.

        All candidates share the particles' noise and members (common random numbers), so that
        they differ by their actions alone. Differentiable where the actions require a gradient.
        """
        if actions.requires_grad and torch.is_grad_enabled():
            return self._futures(actions, *self._imagine(state, actions, rng))
        with torch.inference_mode():
            if self._folded is None:
                self._folded = FoldedEnsemble(self)
            return self._futures(actions, *self._folded.rollout(state, actions, rng))

    def _imagine(
        self, state: Tensor, actions: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What ``FoldedEnsemble.rollout`` imagines of the same noise, and returns, differentiable.

        Slower: it neither folds weights nor writes in place.
        """
        elites, propagation, num = len(self.elites), self.config.propagation, len(actions)
        noise, orders = draw_noise(self.config, self.outputs, actions.shape[1], rng)
        particles = elites * noise.shape[2]
        scale, shift = self.target_normalizer.std, self.target_normalizer.mean
        path, outcomes, logits = [state.expand(particles, num, -1)], [], []
        for action, sample, order in zip(actions.unbind(1), noise.mT, orders, strict=True):
            places = slice(None) if order is None else order
            back = slice(None) if order is None else order.argsort()
            seen = self.features(path[-1], action.expand(particles, -1, -1))[places]
            answers = self.heads(seen.reshape(elites, -1, seen.shape[-1]), self.elites)
            mean, log_variance, logit = (
                part.reshape(particles, num, *part.shape[2:])[back].unflatten(0, (elites, -1))
                for part in answers
            )
            change = _sampled(
                propagation, mean * scale + shift, (log_variance / 2).exp() * scale, sample
            ).flatten(0, 1)
            path.append(path[-1] + change[..., : self.spec.observation_dim])
            outcomes.append(change[..., -1])
            logits.append(logit.flatten(0, 1))
        kept = 1 if propagation == "mean" else particles
        seen, outcome, end = (torch.stack(part)[:, :kept] for part in (path, outcomes, logits))
        return seen, outcome, end

    def _futures(
        self, actions: Tensor, path: Tensor, outcome: Tensor, logit: Tensor
    ) -> Trajectories:
        """Trajectories of observations ``[H + 1, P, N, D]``, last outputs, logits ``[H, P, N]``."""
        observations = path.permute(2, 1, 0, 3)
        before, after = observations[..., :-1, :], observations[..., 1:, :]
        act = actions[:, None]
        reward = self.task.reward
        rewards = outcome.permute(2, 1, 0) if reward is None else reward(before, act, after)
        terminated = self.task.terminated
        continues = (
            torch.sigmoid(-logit.permute(2, 1, 0))
            if terminated is None
            else 1.0 - terminated(after).to(rewards.dtype)
        )
        return Trajectories(observations, rewards, continues)

    def forget_folded(self) -> None:
        """Called when weights changed: fold them anew before the next rollout."""
        self._folded = None

    def _prediction(
        self, observation: Tensor, mean: Tensor, log_variance: Tensor, logit: Tensor
    ) -> Prediction:
        """Back from normalised changes to next observations in their own units."""
        scale, shift = self.target_normalizer.std, self.target_normalizer.mean
        mean = mean * scale + shift
        dim = self.spec.observation_dim
        mean = torch.cat([mean[..., :dim] + observation, mean[..., dim:]], dim=-1)
        known = self.task.terminated is not None
        continues = torch.ones_like(logit) if known else torch.sigmoid(-logit)
        return Prediction(mean, torch.exp(log_variance) * scale**2, continues)

    def _transition(
        self, state: Tensor, action: Tensor, change: Tensor, logit: Tensor
    ) -> Transition[Tensor]:
        """The task's own reward and termination where it has them, else what was predicted."""
        following = state + change[:, : self.spec.observation_dim]
        reward, terminated = self.task.reward, self.task.terminated
        rewards = change[:, -1] if reward is None else reward(state, action, following)
        if terminated is None:
            return Transition(following, rewards, torch.sigmoid(-logit))
        return Transition(following, rewards, 1.0 - terminated(following).to(rewards.dtype))


def _gaussian_nll(error: Tensor, log_variance: Tensor) -> Tensor:
    """Without its constant (arXiv:1805.12114, eq. 1)."""
    return 0.5 * (error**2 * torch.exp(-log_variance) + log_variance)


def _sampled(propagation: Propagation, mean: Tensor, std: Tensor, noise: Tensor) -> Tensor:
    """What particles of every elite go on with ``[E, K, N, O]``, by the rule of propagation."""
    match propagation:
        case "mean":
            return mean.mean(dim=0, keepdim=True).expand_as(mean)
        case "moment":
            within = (std**2).mean(dim=(0, 1), keepdim=True)
            between, centre = torch.var_mean(mean, dim=(0, 1), correction=0, keepdim=True)
            return centre + (within + between).sqrt() * noise
        case _:
            return mean + std * noise


def _forget_folded(model: ProbabilisticEnsemble, _: object) -> None:
    model.forget_folded()
