"""Steps down a loss, by gradients that are not allowed to be too large."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mpc_robot.errors import require
from mpc_robot.nn.clipping import clip_adaptively


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
        for name in ("rate", "most", "eps"):
            require(getattr(self, name) > 0.0, name, "positive", getattr(self, name))


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
        state = self._adam.state_dict()["state"]
        return {str(key): dict(value) for key, value in state.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as what :meth:`state_dict` told of."""
        whole = self._adam.state_dict()
        whole["state"] = {
            int(key): {name: _laid_out(value, self._parameters[int(key)]) for name, value in kept}
            for key, kept in ((key, value.items()) for key, value in state.items())
        }
        self._adam.load_state_dict(whole)

    def _clipped(self) -> Tensor:
        """The norm of the gradients before they were clipped."""
        if self.config.clip == "adaptive":
            return clip_adaptively(self._parameters, self.config.most)
        return nn.utils.clip_grad_norm_(self._parameters, self.config.most)


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    """A copy in the memory order of a parameter of that shape, which fused Adam takes for given."""
    if value.shape != parameter.shape:
        return value.clone()
    return torch.empty_like(parameter, requires_grad=False).copy_(value)
