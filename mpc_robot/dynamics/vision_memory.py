"""The world model of World Models (arXiv:1803.10122): V, which sees, and M, which remembers."""

from __future__ import annotations

import torch
from torch import Tensor

from mpc_robot.data.sequences import Sequences
from mpc_robot.dynamics.mdn_rnn import MDNRNN, MDNRNNState
from mpc_robot.nn.vae import VAE


class VisionMemory:
    """A WorldModel of frames: the likeliest latent stands for each, as for the controller."""

    def __init__(self, vae: VAE, model: MDNRNN) -> None:
        """See by ``vae``, and remember and foresee by ``model``."""
        self.vae, self.model = vae, model

    @property
    def device(self) -> torch.device:
        """Where the weights of both are."""
        return self.model.device

    def told(self, seen: Sequences) -> Tensor:
        """The frames ``[B, T, H, W, C]``, shades from 0 to 1."""
        return _frames(seen).float() / 255.0

    def explain(self, seen: Sequences, rng: torch.Generator) -> MDNRNNState:
        """States ``[B * T]``; nothing is random."""
        whole = self.model.observe(self.vae.encode(_frames(seen)).mode(), seen)[0]
        return MDNRNNState(*(part.flatten(0, 1) for part in vars(whole).values()))

    def imagine(self, state: MDNRNNState, action: Tensor, rng: torch.Generator) -> MDNRNNState:
        """States that may follow those of rows ``[B]`` under ``action [B, A]``."""
        return self.model.imagine(state, action, self.model.noise(len(action), rng)).state

    def show(self, state: MDNRNNState) -> Tensor:
        """The frames ``[B, H, W, C]`` of states, shades from 0 to 1."""
        return self.vae.scale.shades(self.vae.decode(state.latent))

    def earned(self, state: MDNRNNState) -> Tensor:
        """The reward that came with states of rows ``[B]``."""
        reward: Tensor = self.model.reward(state.features)
        return reward


def _frames(seen: Sequences) -> Tensor:
    """The frames ``[B, T, H, W, C]`` of sequences."""
    if seen.frame is None:
        raise RuntimeError("sequences: expected frames, got none")
    return seen.frame
