"""The ensemble's weights folded for planning: little but large matrix products in every step.

Normalisation is multiplied into the first and last layer, and entries that the model may not see
get zero weights. What is imagined is stored entries first, ``[D, E, K, N]`` for N candidates in K
particles of each of E elites, so that every operation runs over long rows.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from mpc_robot.dynamics.ensemble import EnsembleConfig, ProbabilisticEnsemble

Layer = tuple[Tensor, Tensor]
"""Weights ``[E, in, out]`` and biases ``[E, 1, out]``."""
Network = Callable[[Tensor, Tensor], None]
"""Fills outputs ``[E, out, C]`` of inputs ``[E, in + 1, C]``, the last of which are ones."""
COLUMNS = 144
"""C at most: more particles per elite would not stay in a core's second-level cache."""


def draw_noise(
    config: EnsembleConfig, outputs: int, horizon: int, rng: torch.Generator
) -> tuple[Tensor, list[Tensor | None]]:
    """Noise ``[H, E, K, O, 1]`` that all candidates share, and who is whose particle.

    The latter is the order ``[E * K]`` in which particles take the members' places at each step;
    None where all keep theirs.
    """
    each = 1 if config.propagation == "mean" else config.particles // config.elites
    noise = torch.randn(horizon, config.elites, each, outputs, 1, generator=rng)
    if config.propagation != "ts1":
        return noise, [None] * horizon
    return noise, list(torch.rand(horizon, config.elites * each, generator=rng).argsort(dim=1))


class FoldedEnsemble:
    """A frozen copy of an ensemble's elites that only imagines."""

    def __init__(self, model: ProbabilisticEnsemble) -> None:
        """Take the weights of ``model`` as they are now."""
        self.config = model.config
        self.dim, self.outputs = model.spec.observation_dim, model.outputs
        weights = [weight.detach()[model.elites] for weight in model.network.weights]
        biases = [bias.detach()[model.elites] for bias in model.network.biases]
        weights[0], biases[0] = _fold_inputs(model, weights[0], biases[0])
        weights[-1], biases[-1] = _fold_outputs(model, weights[-1], biases[-1])
        self.learns = model.task.reward is None or model.task.terminated is None
        self.elites, _, self.heads = weights[-1].shape
        self.last_output = 2 * self.outputs - 1
        layers = list(zip(weights, biases, strict=True))
        self.batched = _Batched(layers, model.config)
        self.joined = [torch.cat(layer, dim=1).mT.contiguous() for layer in layers]
        scale = (model.target_normalizer.std**2)[:, None, None, None]
        self.greatest = model.max_log_variance.detach().exp()[:, None, None, None] * scale
        self.least = model.min_log_variance.detach().exp()[:, None, None, None] * scale

    @torch.inference_mode()
    def rollout(
        self, state: Tensor, actions: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Imagine ``actions[N, H, A]`` from ``state[N, D]``.

        Returns observations ``[H + 1, P, N, D]``, the last output and the logit ``[H, P, N]``;
        these are zero where the task gives reward and termination.
        """
        noise, orders = draw_noise(self.config, self.outputs, actions.shape[1], rng)
        size = max(1, COLUMNS // noise.shape[2])
        blocks = [
            self._imagine(start, plan, noise.permute(0, 3, 1, 2, 4), orders)
            for start, plan in zip(state.split(size), actions.split(size), strict=True)
        ]
        kept = 1 if self.config.propagation == "mean" else None
        observations, ends = (
            torch.cat(parts, dim=-1).flatten(2, 3)[:, :, :kept]
            for parts in zip(*blocks, strict=True)
        )
        return observations.permute(0, 2, 3, 1), ends[:, 0], ends[:, -1]

    def _imagine(
        self, state: Tensor, actions: Tensor, noise: Tensor, orders: list[Tensor | None]
    ) -> tuple[Tensor, Tensor]:
        """Observations ``[H + 1, D, E, K, N]``; last output and logit ``[H, 1 or 2, E, K, N]``.

        The loop makes few calls: after large products even their code is out of the cache.
        """
        count, horizon, action_dim = actions.shape
        path = torch.ones(horizon + 1, self.dim + action_dim + 1, *noise.shape[2:4], count)
        seen = path[:, : self.dim]
        seen[0] = state.T[:, None, None]
        path[:-1, self.dim : -1] = actions.permute(1, 2, 0)[:, :, None, None]
        heads = torch.empty(self.heads, *path.shape[2:])
        spread, mean, *_ = heads.split(self.outputs)
        change, end = mean[: self.dim], heads[self.last_output :]
        ends = torch.zeros(horizon, *end.shape)
        inputs, out = path.flatten(3).transpose(1, 2), _by_member(heads)
        network = self._network(out.shape[-1])
        steps = zip(inputs, seen, seen[1:], noise, orders, ends, strict=False)
        for h, (x, now, following, sample, order, kept) in enumerate(steps):
            if order is None:
                network(x, out)
            else:
                self._deal(network, path[h], order, heads)
            self._propagate(mean, self._std(spread), sample)
            torch.add(now, change, out=following)
            if self.learns:
                kept.copy_(end)
        return seen, ends

    def _network(self, columns: int) -> Network:
        """The faster way to evaluate the members for so many particles of each, as measured."""
        config = self.config
        many = columns >= 96 and config.hidden <= 300
        if many and config.inference_dtype == "float32" and not config.layer_norm:
            return _ByMember(self.joined, columns)
        return self.batched

    def _deal(self, network: Network, inputs: Tensor, order: Tensor, heads: Tensor) -> None:
        """Fill ``heads`` with what the members say to the particles that take their places."""
        dealt = torch.empty_like(heads)
        taken = inputs.flatten(1, 2)[:, order].view_as(inputs)
        network(_by_member(taken), _by_member(dealt))
        heads.flatten(1, 2).index_copy_(1, order, dealt.flatten(1, 2))

    def _std(self, spread: Tensor) -> Tensor:
        """Standard deviation of each output ``[O, E, K, N]``.

        In terms of variances the soft bounds are harmonic and plain sums,
        ``least + 1 / (1 / greatest + 1 / variance)``; ``spread`` is ``log(variance / greatest)``,
        and is overwritten.
        """
        return torch.addcmul(self.least, self.greatest, spread.sigmoid_(), out=spread).sqrt_()

    def _propagate(self, mean: Tensor, std: Tensor, noise: Tensor) -> None:
        """Turn ``mean[O, E, K, N]`` into samples, by the rule of ``EnsembleConfig.propagation``."""
        match self.config.propagation:
            case "mean":
                mean[:] = mean.mean(dim=1, keepdim=True)
            case "moment":
                within = (std**2).mean(dim=(1, 2), keepdim=True)
                between, centre = torch.var_mean(mean, dim=(1, 2), correction=0, keepdim=True)
                torch.addcmul(centre, (within + between).sqrt(), noise, out=mean)
            case _:
                mean.addcmul_(std, noise)


class _Batched:
    """For few particles, wide layers or layer norm: one product per layer, each particle a row.

    Widths are filled up with zeros to whole vector registers.
    """

    def __init__(self, layers: list[Layer], config: EnsembleConfig) -> None:
        """The outer layers stay in float32: they carry the units of the data."""
        first, *middle, (last, last_bias) = layers
        dtype = getattr(torch, config.inference_dtype)
        self.width = last.shape[1] if config.layer_norm else None
        fill = -last.shape[1] % 16
        self.first = functional.pad(torch.cat(first, dim=1), (0, fill))
        self.middle = [
            (
                functional.pad(w, (0, fill, 0, fill)).to(dtype),
                functional.pad(b, (0, fill)).to(dtype),
            )
            for w, b in middle
        ]
        self.last, self.last_bias = functional.pad(last, (0, 0, 0, fill)), last_bias.mT

    def __call__(self, x: Tensor, out: Tensor) -> None:
        """See ``Network``."""
        x = self._hidden(torch.bmm(x.mT, self.first))
        for weight, bias in self.middle:  # baddbmm is slower: it first copies the bias to all rows
            x = self._hidden(torch.bmm(x.to(weight.dtype), weight).add_(bias))
        torch.add(torch.bmm(x.float(), self.last).mT, self.last_bias, out=out)

    def _hidden(self, x: Tensor) -> Tensor:
        """What the next layer sees; the zeros that fill widths up are not normalised."""
        functional.silu(x, inplace=True)
        if self.width is not None:
            real = x[..., : self.width]
            real.copy_(functional.layer_norm(real, real.shape[-1:]))
        return x


class _ByMember:
    """For many particles: one product per member and layer, each particle a column."""

    def __init__(self, layers: list[Tensor], columns: int) -> None:
        """``layers[E, out, in + 1]`` take turns in two buffers whose last entry is one."""
        *hidden, self.last = layers
        elites, width, _ = hidden[0].shape
        buffers = [torch.ones(width + 1, elites, columns).transpose(0, 1) for _ in range(2)]
        self.hidden = [
            (layer, buffer[:, :-1], buffer)
            for layer, buffer in zip(hidden, cycle(buffers), strict=False)
        ]

    def __call__(self, x: Tensor, out: Tensor) -> None:
        """See ``Network``."""
        for layer, units, units_and_one in self.hidden:
            functional.silu(torch.bmm(layer, x, out=units), inplace=True)
            x = units_and_one
        torch.bmm(self.last, x, out=out)


def _by_member(entries: Tensor) -> Tensor:
    """``[D, E, K, N]`` as ``[E, D, K * N]``."""
    return entries.flatten(2).transpose(0, 1)


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
    """Last layer giving spreads (see ``_std``), means in the data's own units, and the logit."""
    n = model.outputs
    mean, std = model.target_normalizer.mean, model.target_normalizer.std
    weight, bias = weight.clone(), bias.clone()
    weight[..., :n] *= std
    bias[..., :n] = bias[..., :n] * std + mean
    bias[..., n : 2 * n] -= model.max_log_variance.detach()
    spread_first = torch.arange(weight.shape[-1])
    spread_first[: 2 * n] = spread_first[: 2 * n].roll(n)
    return weight[..., spread_first], bias[..., spread_first]
