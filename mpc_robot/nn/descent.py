"""Steps down a loss, by gradients that are not allowed to be too large."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mpc_robot.errors import require, require_choices
from mpc_robot.nn.clipping import clip_adaptively
from mpc_robot.nn.optimizers import load_optimizer_state, optimizer_state


@dataclass(frozen=True)
class DescentConfig:
    """How to go down a loss.

    Attributes:
        rate: of Adam.
        clip: ``norm`` bounds the norm of all gradients together; ``adaptive`` bounds that of each
            tensor by the tensor's own (Dreamer v3, arXiv:2301.04104).
        most: bound of the norm, or share of a tensor's own [v1, v2: 100; v3: 0.3].
        eps: of Adam.
    """

    rate: float
    clip: Literal["norm", "adaptive"] = "adaptive"
    most: float = 0.3
    eps: float = 1e-8

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        require_choices(self)
        for name in ("rate", "most", "eps"):
            require(0.0 < getattr(self, name) < torch.inf, name, "positive", getattr(self, name))


class Descent:
    """Adam for some parameters; what is not finite changes nothing."""

    def __init__(self, parameters: Iterable[nn.Parameter], config: DescentConfig) -> None:
        """Nothing is remembered yet."""
        self.config, self._parameters = config, list(parameters)
        self._adam = torch.optim.Adam(self._parameters, lr=config.rate, eps=config.eps, fused=True)

    def step(self, loss: Tensor) -> float:
        """A step of these parameters and no others; the norm of their gradients."""
        gradients = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = self._clipped().item()
        if norm < torch.inf:
            self._adam.step()
        return norm

    def state_dict(self) -> dict[str, Any]:
        """What Adam remembers of each parameter, with string keys."""
        return optimizer_state(self._adam)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as what :meth:`state_dict` told of."""
        load_optimizer_state(self._adam, state)

    def _clipped(self) -> Tensor:
        """The norm of the gradients before they were clipped."""
        if self.config.clip == "adaptive":
            return clip_adaptively(self._parameters, self.config.most)
        return nn.utils.clip_grad_norm_(self._parameters, self.config.most)
