"""From frames over time to the state of a mixture density recurrent network."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mpc_robot.dynamics.mdn_rnn import MDNRNN, MDNRNNState
from mpc_robot.errors import require, require_numbers
from mpc_robot.nn.vae import VAE


class MemoryFilter:
    """What an autoencoder sees now, and what a network remembers of before.

    What it believes is what ``MDNRNN.start`` takes, and begins with the features that a controller
    sees. The likeliest latent stands for a frame.
    """

    def __init__(self, vae: VAE, model: MDNRNN) -> None:
        """See by ``vae`` and remember by ``model``, also by what they become."""
        self.vae, self.model = vae, model
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Forget all that was seen; nothing is random."""
        self._state: MDNRNNState | None = None

    @torch.no_grad()
    def update(
        self, observation: Any, action: npt.NDArray[np.float64] | None
    ) -> npt.NDArray[np.float64]:
        """The whole state ``[Z + 2 G]`` after a frame; ``action [A]`` led to it, None at first.

        Raises:
            ValueError: if it is no frame of bytes of the shape that is known, or the action is not
                finite; the belief is as it was then.
        """
        seen = np.asarray(observation)
        require(seen.dtype == np.uint8, "frame", "bytes (uint8)", str(seen.dtype))
        require_numbers("frame", seen, tuple(self.vae.scale.mean.shape))
        if self._state is not None and action is not None:
            require_numbers("action", action, tuple(self.model.low.shape))
        frame = torch.as_tensor(seen)[None].to(self.model.device)
        latent = self.vae.encode(frame).mode()
        if self._state is None or action is None:
            self._state = self.model.begin(latent)
        else:
            done = torch.as_tensor(action, dtype=torch.float32)[None].to(self.model.device)
            self._state = self.model.remember(self._state, done, latent)
        return self._state.whole[0].cpu().numpy().astype(np.float64)
