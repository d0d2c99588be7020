"""From what is seen over time to the state of a recurrent state-space model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mpc_robot.data.sequences import Sequences, senses_of
from mpc_robot.dynamics.rssm import RSSM, RSSMState
from mpc_robot.errors import require_numbers

Floats = npt.NDArray[np.float64]
_PARTS = ("deter", "stoch")


class LatentFilters:
    """Where a model believes that N worlds are, updated by observations and actions."""

    def __init__(self, model: RSSM, num: int) -> None:
        """Believe in ``model``, also in what it becomes, of ``num`` worlds."""
        self.model = model
        self.rng = torch.Generator().manual_seed(0)
        self._states: list[RSSMState | None] = [None] * num

    def begin(self, world: int, seed: int) -> None:
        """Forget all that was seen of one; ``seed`` decides the random parts of beliefs."""
        self.rng.manual_seed(seed)
        self._states[world] = None

    @torch.no_grad()
    def update(
        self, worlds: Sequence[int], observations: Sequence[Any], actions: Sequence[Floats | None]
    ) -> Floats:
        """The features ``[K, G + S]`` after observations of K worlds that followed actions.

        Args:
            worlds: which they are of.
            observations: frames, vectors, or both: ``{"frame": ..., "vector": ...}``.
            actions: what was done since the last update ``[A]``; not looked at in the first.

        Raises:
            ValueError: if an observation is not what the model sees, or it or an action is not
                finite; beliefs are as they were then.
        """
        states = [self._states[world] or self.model.initial(1) for world in worlds]
        before = RSSMState(*(torch.cat([vars(s)[name] for s in states]) for name in _PARTS))
        unknown = [self._states[world] is None for world in worlds]
        seen = _seen(observations, actions, unknown, self.model).to(self.model.device)
        after = self.model.observe(seen, self.rng, before)[0].flatten()
        for world, *parts in zip(worlds, after.deter.split(1), after.stoch.split(1), strict=True):
            self._states[world] = RSSMState(*parts)
        return after.features.cpu().numpy().astype(np.float64)

    def state_dict(self) -> dict[str, Any]:
        """The beliefs and the random state."""
        known = {str(i): vars(state) for i, state in enumerate(self._states) if state is not None}
        return {"states": known, "rng": self.rng.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Believe what :meth:`state_dict` told of."""
        known = {int(i): RSSMState(**parts) for i, parts in state["states"].items()}
        for world in range(len(self._states)):
            one = known.get(world)
            self._states[world] = None if one is None else one.to(self.model.device)
        self.rng.set_state(state["rng"])


class LatentFilter:
    """Where a model believes that the world is; its features are what ``RSSM.start`` takes."""

    def __init__(self, model: RSSM) -> None:
        """Believe in ``model``, also in what it becomes; starts as after ``reset(0)``."""
        self._filters = LatentFilters(model, 1)

    def reset(self, seed: int) -> None:
        """Forget all that was seen; ``seed`` decides the random parts of beliefs."""
        self._filters.begin(0, seed)

    def update(self, observation: Any, action: Floats | None) -> Floats:
        """The features ``[G + S]`` after an observation that followed ``action [A]``.

        Args:
            observation: a frame, a vector, or both: ``{"frame": ..., "vector": ...}``.
            action: what was done since the last update; not looked at in the first.

        Raises:
            ValueError: if it is not what the model sees, or it or the action is not finite; the
                belief is as it was then.
        """
        features: Floats = self._filters.update([0], [observation], [action])[0]
        return features


def _seen(
    observations: Sequence[Any],
    actions: Sequence[Floats | None],
    unknown: Sequence[bool],
    model: RSSM,
) -> Sequences:
    """What was seen of K worlds, each a sequence of one observation."""
    parts = [senses_of(observation) for observation in observations]
    for part in parts:
        model.senses.check(part)
    nothing, flat = np.zeros(len(model.low)), (len(parts), 1)
    done = [
        nothing if first or action is None else action
        for first, action in zip(unknown, actions, strict=True)
    ]
    for action in done:
        require_numbers("action", action, nothing.shape)
    frame, vector = (
        torch.as_tensor(np.stack([part[name] for part in parts]))[:, None]
        if name in parts[0]
        else None
        for name in ("frame", "vector")
    )
    return Sequences(
        frame=frame,
        vector=None if vector is None else vector.float(),
        action=torch.as_tensor(np.stack(done), dtype=torch.float32)[:, None],
        reward=torch.zeros(flat),
        is_first=torch.tensor(unknown)[:, None],
        terminated=torch.zeros(flat, dtype=torch.bool),
        truncated=torch.zeros(flat, dtype=torch.bool),
    )
