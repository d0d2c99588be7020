"""iCEM: sample-efficient cross-entropy method for real-time planning (arXiv:2008.06389)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mpc_robot.controllers.base import Plan, Score
from mpc_robot.controllers.parameterization import ActionSpline
from mpc_robot.controllers.sampling import best, evaluate, later_plan, rest_plan
from mpc_robot.errors import require


@dataclass(frozen=True)
class ICEMConfig:
    """Settings of :class:`ICEM`; defaults are those of arXiv:2008.06389.

    Attributes:
        num_samples: candidates of the first iteration (paper: 40 of its budgets of 50 to 4000).
        iterations: refits per plan (paper: 3 at that budget).
        num_elites: candidates that the distribution is refitted to (paper: 10).
        decay: each iteration draws this factor fewer candidates, but at least twice the elites
            (paper: gamma = 1.25).
        keep_elites: share of the elites that are candidates again, in the next iteration and in
            the next plan, in [0, 1] (paper: xi = 0.3).
        alpha: share of the old mean and standard deviation that a refit keeps, in [0, 1)
            (paper: 0.1).
        initial_std: standard deviation that every search starts with, relative to half the action
            range (paper: 0.5).
        noise_beta: the noise has power spectrum 1 / f^beta along time; 0 is white (paper: 0.25
            half-cheetah, 2 humanoid, 2.5 door, 3 fetch, 3.5 relocate).
    """

    num_samples: int = 40
    iterations: int = 3
    num_elites: int = 10
    decay: float = 1.25
    keep_elites: float = 0.3
    alpha: float = 0.1
    initial_std: float = 0.5
    noise_beta: float = 2.0

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        n = self.num_samples
        require(1 <= self.num_elites <= n, "num_elites", f"1 to {n}", self.num_elites)
        require(self.iterations >= 1, "iterations", "at least 1", self.iterations)
        require(1 <= self.decay < math.inf, "decay", "at least 1", self.decay)
        require(0 <= self.keep_elites <= 1, "keep_elites", "in [0, 1]", self.keep_elites)
        require(0 <= self.alpha < 1, "alpha", "in [0, 1)", self.alpha)
        require(0 < self.initial_std < math.inf, "initial_std", "positive", self.initial_std)
        require(0 <= self.noise_beta < math.inf, "noise_beta", "not negative", self.noise_beta)


class ICEM:
    """CEM with coloured noise, elites that are kept, fewer candidates later; acts on the best."""

    def __init__(self, spline: ActionSpline, config: ICEMConfig | None = None) -> None:
        """Search over ``spline``; the default config is the paper's."""
        self.spline = spline
        self.config = config or ICEMConfig()
        self._initial_std = spline.half_range * self.config.initial_std
        self._gain = noise_gain(spline.knots, self.config.noise_beta)

    def initial(self) -> Plan:
        """Half way between the bounds."""
        return rest_plan(self.spline, self._initial_std)

    def shift(self, plan: Plan) -> Plan:
        """Mean and kept elites one step later, their last knot held; the spread starts anew."""
        return later_plan(self.spline, plan, self._initial_std)

    def optimize(self, score: Score, plan: Plan, rng: torch.Generator) -> Plan:
        """Refit ``iterations`` times; the plan's actions are the best candidate's seen.

        An iteration without a finite score changes nothing.
        """
        cfg, mean, std, kept = self.config, plan.knots, plan.std, plan.elites
        winner, value = plan.knots, -math.inf
        for iteration in range(cfg.iterations):
            knots = torch.cat([self._sample(mean, std, iteration, rng), kept])
            if iteration == cfg.iterations - 1:
                knots = torch.cat([knots, mean[None]])
            elites, values = best(knots, evaluate(score, self.spline, knots), cfg.num_elites)
            if len(elites) == 0:
                continue
            if values[0] > value:
                winner, value = elites[0], float(values[0])
            kept = elites[: int(cfg.keep_elites * cfg.num_elites)]
            fit = elites.mean(0)
            mean = torch.lerp(fit, mean, cfg.alpha)
            std = torch.lerp((elites - fit).square().mean(0).sqrt(), std, cfg.alpha)
        if value == -math.inf:
            return replace(plan, value=value)
        return Plan(self.spline.decode(winner), mean, std, kept, value)

    def _sample(self, mean: Tensor, std: Tensor, iteration: int, rng: torch.Generator) -> Tensor:
        """Candidates ``[N_i, K, A]``, fewer in later iterations."""
        cfg = self.config
        num = max(int(cfg.num_samples * cfg.decay**-iteration), 2 * cfg.num_elites)
        noise = colored_noise((num, *mean.shape), self._gain, rng)
        return self.spline.clamp(mean + std * noise)


def noise_gain(length: int, beta: float) -> Tensor:
    """Amplitudes ``[length // 2 + 1, 1]`` of a 1 / f^beta spectrum of unit variance.

    The mean of a sequence is treated as its lowest frequency, 1 / ``length``.
    """
    frequency = torch.fft.fftfreq(length, dtype=torch.float64).abs().clamp_min(1 / length)
    power = frequency**-beta
    power = power / power.mean()
    real = torch.arange(length) * 2 % length == 0  # mean and Nyquist frequency have no phase
    amplitude = torch.where(real, 2 * power, power).sqrt()[: length // 2 + 1]
    return amplitude[:, None].float()


def colored_noise(shape: tuple[int, ...], gain: Tensor, rng: torch.Generator) -> Tensor:
    """Gaussian noise ``[N, K, A]`` of unit variance, coloured along K by ``noise_gain``."""
    num, length, dim = shape
    white = torch.randn(num, len(gain), dim, dtype=torch.complex64, generator=rng)
    noise: Tensor = torch.fft.irfft(white * gain, n=length, dim=1, norm="ortho")
    return noise
