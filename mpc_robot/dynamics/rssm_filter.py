"""From what is seen over time to the state of a recurrent state-space model."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mpc_robot.data.sequences import Sequences, senses_of
from mpc_robot.dynamics.rssm import RSSM, RSSMState


class LatentFilter:
    """Where a model believes that the world is, updated by each observation and action.

    Its features are what ``RSSM.start`` takes.
    """

    def __init__(self, model: RSSM) -> None:
        """Believe in ``model``, also in what it becomes; starts as after ``reset(0)``."""
        self.model = model
        self.rng = torch.Generator()
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Forget all that was seen; ``seed`` decides the random parts of beliefs."""
        self.rng.manual_seed(seed)
        self._state: RSSMState | None = None

    @torch.no_grad()
    def update(
        self, observation: Any, action: npt.NDArray[np.float64] | None
    ) -> npt.NDArray[np.float64]:
        """The features ``[G + S]`` after an observation that followed ``action [A]``.

        Args:
            observation: a frame, a vector, or both: ``{"frame": ..., "vector": ...}``.
            action: what was done since the last update; not looked at in the first.
        """
        senses = {name: torch.as_tensor(part) for name, part in senses_of(observation).items()}
        frame, vector = senses.get("frame"), senses.get("vector")
        done = np.zeros(len(self.model.low)) if action is None else action
        seen = Sequences(
            frame=None if frame is None else frame[None, None],
            vector=None if vector is None else vector.float()[None, None],
            action=torch.as_tensor(done, dtype=torch.float32)[None, None],
            reward=torch.zeros(1, 1),
            is_first=torch.tensor([[self._state is None]]),
            terminated=torch.zeros(1, 1, dtype=torch.bool),
            truncated=torch.zeros(1, 1, dtype=torch.bool),
        )
        states, _, _ = self.model.observe(seen.to(self.model.device), self.rng, self._state)
        self._state = states.flatten()
        return self._state.features[0].cpu().numpy().astype(np.float64)

    def state_dict(self) -> dict[str, Any]:
        """The belief and the random state."""
        state = None if self._state is None else vars(self._state)
        return {"state": state, "rng": self.rng.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Believe what :meth:`state_dict` told of."""
        known = state["state"]
        self._state = None if known is None else RSSMState(**known).to(self.model.device)
        self.rng.set_state(state["rng"])
