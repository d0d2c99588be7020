"""The ensemble's weights folded for planning: fewest, largest matrix products per imagined step.

Normalisation is multiplied into the first and last layer, entries that the model may not see get
zero weights, and every step writes into the same buffers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from mpc_robot.dynamics.ensemble import ProbabilisticEnsemble


class FoldedEnsemble:
    """A frozen copy of an ensemble's elites that only imagines."""

    def __init__(self, model: ProbabilisticEnsemble) -> None:
        """Take the weights of ``model`` as they are now."""
        self.config = model.config
        self.dim, self.outputs = model.spec.observation_dim, model.outputs
        self.dtype = getattr(torch, model.config.inference_dtype)
        weights = [weight.detach()[model.elites] for weight in model.network.weights]
        biases = [bias.detach()[model.elites] for bias in model.network.biases]
        weights[0], biases[0] = _fold_inputs(model, weights[0], biases[0])
        weights[-1], biases[-1] = _fold_outputs(model, weights[-1], biases[-1])
        self.first, self.last = (weights[0], biases[0]), (weights[-1], biases[-1])
        self.middle = [
            (weight.to(self.dtype), bias.to(self.dtype))
            for weight, bias in zip(weights[1:-1], biases[1:-1], strict=True)
        ]
        spread = model.target_normalizer.std**2
        self.greatest = model.max_log_variance.detach().exp() * spread
        self.least = model.min_log_variance.detach().exp() * spread
        if model.config.variance == "homoscedastic":
            log_variance = model.bounded(model.log_variance.detach())[model.elites]
            self.fixed_std = (log_variance.exp() * spread).sqrt()

    @torch.inference_mode()
    def rollout(
        self, state: Tensor, actions: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Imagine; observations ``[H+1, P, N, D]``, last output and logit ``[H, P, N]``."""
        count, horizon, action_dim = actions.shape
        elites = len(self.first[0])
        mean_only = self.config.propagation == "mean"
        particles = elites if mean_only else self.config.particles
        path = torch.empty(horizon + 1, particles, count, self.dim + action_dim)
        path[0, ..., : self.dim] = state
        path[:-1, ..., self.dim :] = actions.transpose(0, 1)[:, None]
        outcome, logit = torch.empty(2, horizon, particles, count)
        noise = torch.randn(horizon, particles, 1, self.outputs, generator=rng)
        members = self._members(horizon, particles, rng)
        for h in range(horizon):
            mean, std, logit[h] = self._step(path[h], members[h])
            change = self._propagate(mean, std, noise[h])
            following = path[h + 1, ..., : self.dim]
            torch.add(path[h, ..., : self.dim], change[..., : self.dim], out=following)
            outcome[h] = change[..., -1]
        kept = 1 if mean_only else particles
        return path[:, :kept, :, : self.dim], outcome[:, :kept], logit[:, :kept]

    def _members(self, horizon: int, particles: int, rng: torch.Generator) -> list[Tensor | None]:
        """Order in which particles are dealt to members at each step; None keeps theirs."""
        if self.config.propagation not in ("ts1", "moment"):
            return [None] * horizon
        return list(torch.rand(horizon, particles, generator=rng).argsort(dim=1))

    def _step(self, x: Tensor, order: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and std of the change ``[P, N, O]`` and logit ``[P, N]`` of each particle."""
        particles, count, width = x.shape
        dealt = x if order is None else x[order]
        raw = self._network(dealt.view(len(self.first[0]), -1, width))
        raw = raw.view(particles, count, -1)
        if order is not None:
            raw = torch.empty_like(raw).index_copy_(0, order, raw)
        return raw[..., : self.outputs], self._std(raw), raw[..., -1]

    def _network(self, x: Tensor) -> Tensor:
        """The outer layers stay in float32: they carry the units of the data."""
        (weight, bias), (last_weight, last_bias) = self.first, self.last
        x = functional.silu(torch.baddbmm(bias, x, weight), inplace=True).to(self.dtype)
        for weight, bias in self.middle:
            x = functional.silu(torch.baddbmm(bias, x, weight), inplace=True)
        return torch.baddbmm(last_bias, x.float(), last_weight)

    def _std(self, raw: Tensor) -> Tensor:
        """Std of each output ``[P, N, O]`` (or broadcast to it).

        In terms of variances the soft bounds are harmonic and plain sums:
        ``least + 1 / (1 / greatest + 1 / variance)``; the last layer gives ``-log variance``.
        """
        if self.config.variance == "homoscedastic":
            return self.fixed_std.repeat_interleave(len(raw) // len(self.fixed_std), dim=0)
        precision = raw.exp()[..., self.outputs : 2 * self.outputs]  # contiguous: vectorised
        return precision.add_(1.0 / self.greatest).reciprocal_().add_(self.least).sqrt_()

    def _propagate(self, mean: Tensor, std: Tensor, noise: Tensor) -> Tensor:
        """Change of each particle ``[P, N, O]``, by the rule of ``EnsembleConfig.propagation``."""
        match self.config.propagation:
            case "mean":
                return mean.mean(dim=0, keepdim=True).expand_as(mean)
            case "moment":
                variance = (std**2).expand_as(mean).mean(dim=0) + mean.var(dim=0, correction=0)
                return mean.mean(dim=0) + variance.sqrt() * noise
            case _:
                return torch.addcmul(mean, std, noise)


def _fold_inputs(
    model: ProbabilisticEnsemble, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """First layer on raw ``[observation, action]``, with zero rows for entries it may not see."""
    mean, std = model.input_normalizer.mean, model.input_normalizer.std
    scaled = weight / std[:, None]
    bias = bias - (mean @ scaled)[:, None]
    full = torch.zeros(
        len(weight), model.spec.observation_dim + model.spec.action_dim, weight.shape[2]
    )
    action_rows = model.spec.observation_dim + torch.arange(model.spec.action_dim)
    rows = torch.cat([model.input_indices, action_rows])
    full[:, rows] = scaled
    return full, bias


def _fold_outputs(
    model: ProbabilisticEnsemble, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Last layer giving means and negative log variances in the data's own units."""
    n = model.outputs
    mean, std = model.target_normalizer.mean, model.target_normalizer.std
    weight, bias = weight.clone(), bias.clone()
    weight[..., :n] *= std
    bias[..., :n] = bias[..., :n] * std + mean
    if model.config.variance == "heteroscedastic":
        weight[..., n : 2 * n] *= -1.0
        bias[..., n : 2 * n] = -bias[..., n : 2 * n] - 2.0 * std.log()
    return weight, bias
