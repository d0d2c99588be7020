"""What acts in World Models (arXiv:1803.10122): a linear controller of what is seen and known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mpc_robot.dynamics.mdn_rnn import MDNRNN
from mpc_robot.dynamics.mdn_rnn_filter import MemoryFilter
from mpc_robot.nn.vae import VAE


def from_rest(share: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Actions ``[..., A]``: at 0 the one nearest to zero, at -1 and 1 the bounds ``[A]``.

    A pedal, which can only be pressed, rests for half of all shares, as the brake of World Models.
    """
    rest = torch.zeros_like(low).clamp(low, high)
    up, down = share.clamp(min=0.0), share.clamp(max=0.0)
    return (rest + up * (high - rest) + down * (rest - low)).clamp(low, high)


def linear_actions(weights: Tensor, features: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Actions ``[P, R, A]`` of P linear controllers, each for R features ``[P, R, F]``.

    ``weights [P, A (F + 1)]`` are rows of a matrix and a bias (arXiv:1803.10122, eq. 1); a tanh
    leads from rest within the bounds ``[A]``.
    """
    rows = weights.unflatten(-1, (len(low), -1))
    said = features @ rows[..., :-1].mT + rows[..., None, :, -1]
    return from_rest(torch.tanh(said), low, high)


class Acting:
    """V, M and C that belong together: when a round learns to see anew, the others do not yet."""

    def __init__(self, vae: VAE, model: MDNRNN, weights: Tensor) -> None:
        """Act by these."""
        self.vae, self.model, self.weights = vae, model, weights

    def belief(self) -> MemoryFilter:
        """What V sees and M remembers."""
        return MemoryFilter(self.vae, self.model)

    def controlled(self, whole: Tensor) -> Tensor:
        """The controller's actions ``[..., A]`` for whole states ``[..., Z + 2 G]`` on the CPU."""
        return self.controlled_by(self.weights, whole)

    def controlled_by(self, weights: Tensor, whole: Tensor) -> Tensor:
        """The actions ``[..., A]`` of another controller ``[n]`` of the same features."""
        features = whole[..., : self.model.features].reshape(1, -1, self.model.features)
        bounds = (self.model.low.cpu(), self.model.high.cpu())
        action = linear_actions(weights[None], features, *bounds)
        return action.reshape(*whole.shape[:-1], -1)

    def to(self, device: torch.device) -> None:
        """See and remember on a device; the controller, small as it is, stays on the CPU."""
        self.vae.to(device)
        self.model.to(device)

    def become(self, vae: VAE, model: MDNRNN, weights: Tensor) -> None:
        """Act by copies of others from now on."""
        self.vae.load_state_dict(vae.state_dict())
        self.model.load_state_dict(model.state_dict())
        self.weights = weights.clone()

    def state_dict(self) -> dict[str, Any]:
        """All three."""
        networks = {"vae": dict(self.vae.state_dict()), "memory": dict(self.model.state_dict())}
        return {**networks, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Act by what was saved."""
        self.vae.load_state_dict(state["vae"])
        self.model.load_state_dict(state["memory"])
        self.weights = state["weights"].clone()
