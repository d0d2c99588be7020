"""What MuZero learns from, and how wrong it is (arXiv:1911.08265), as functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from mpc_robot.data.searched import Floats, Ints, Windows
from mpc_robot.dynamics.muzero import MuZeroModel


def n_step_values(reward: Floats, value: Floats, left: Ints, steps: int, discount: float) -> Floats:
    """``z_t = u_{t+1} + ... + gamma^(n-1) u_{t+n} + gamma^n v_{t+n}`` (arXiv:1911.08265, sec. 3).

    Where an episode is known no further, the value of its last position closes the sum; it is 0 if
    the episode terminated.

    Args:
        reward: of each step ``[B, K + n]``, 0 beyond the end.
        value: of each position ``[B, K + n + 1]``, beyond the end that of the last.
        left: steps until the end ``[B]``.
        steps: n.
        discount: gamma; less than 0 where rewards and values are those of two players in turn.

    Returns:
        The targets of the first K + 1 positions ``[B, K + 1]``.
    """
    ahead = reward.shape[1] - steps + 1
    taken = (left[:, None] - np.arange(ahead)).clip(0, steps)
    total: Floats = discount**taken * value[:, steps:]
    for j in range(steps):
        total += discount**j * reward[:, j : j + ahead]
    return total


def importance_weights(probability: Floats, exponent: float) -> Floats:
    """``(N P)^-beta`` as shares of the greatest of the batch ``[B]`` (arXiv:1511.05952, 3.4)."""
    weights: Floats = (probability.min() / probability) ** exponent
    return weights


@dataclass(frozen=True)
class Targets:
    """What the model shall say of B positions and the K after, float32.

    Attributes:
        observation: what was seen at each ``[B, K + 1, D]``.
        action: taken at each but the last ``[B, K, A]``; where an episode is over, any.
        reward: that it earned ``[B, K]``.
        candidates: actions considered at each ``[B, K + 1, C, A]``.
        policy: how often to take each ``[B, K + 1, C]``; 0 where nobody knows.
        value: ``[B, K + 1]``.
        known: whether it is known what came at each ``[B, K + 1]``: always after an episode that
            terminated, never after one that the clock ended.
        seen: whether there was anything to be seen at each ``[B, K + 1]``.
        going: whether the task went on after each action ``[B, K]``.
    """

    observation: Tensor
    action: Tensor
    reward: Tensor
    candidates: Tensor
    policy: Tensor
    value: Tensor
    known: Tensor
    seen: Tensor
    going: Tensor


def targets_of(windows: Windows, unroll: int, n_step: int, discount: float) -> Targets:
    """What to learn from windows of ``unroll + n_step`` steps."""
    opinions, position = windows.opinions, np.arange(unroll + 1)
    left, terminated = windows.left[:, None], windows.terminated[:, None]
    value = n_step_values(windows.reward[:, :-1], opinions.value, windows.left, n_step, discount)
    elsewhere = np.roll(windows.action[:, :1], 1, axis=0)  # whatever is done when it is over
    action = np.where((position[:-1] < left)[..., None], windows.action[:, :unroll], elsewhere)

    def tensor(array: npt.NDArray[Any]) -> Tensor:
        """As float32."""
        return torch.from_numpy(array.astype(np.float32))

    return Targets(
        observation=tensor(windows.observation[:, : unroll + 1]),
        action=tensor(action),
        reward=tensor(windows.reward[:, :unroll]),
        candidates=tensor(opinions.candidates[:, : unroll + 1]),
        policy=tensor(opinions.policy[:, : unroll + 1]),
        value=tensor(value),
        known=tensor((position < left) | terminated),
        seen=tensor(position <= left),
        going=tensor((position[1:] != left) | ~terminated),
    )


def unrolled(model: MuZeroModel, first: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden states ``[B, K + 1, S]`` from ``first`` on, and what rewards are said by ``[B, K]``.

    The gradient is halved at the start of each step of the dynamics (arXiv:1911.08265, appendix G).
    """
    latents, effects = [first], list[Tensor]()
    for taken in action.unbind(dim=1):
        halved = torch.lerp(latents[-1].detach(), latents[-1], 0.5)
        following, effect = model.advance(halved, taken)
        latents.append(following)
        effects.append(effect)
    return torch.stack(latents, dim=1), torch.stack(effects, dim=1)


def step_weights(unroll: int) -> Tensor:
    """1 for what was seen and 1 / K for each of K steps after (arXiv:1911.08265, appendix G)."""
    return torch.cat([torch.ones(1), torch.full((unroll,), 1.0 / unroll)])


def inconsistency(model: MuZeroModel, foretold: Tensor, observation: Tensor) -> Tensor:
    """Less the cosine between hidden states and those of what was seen (arXiv:2111.00210, eq. 3).

    ``[B, K, S], [B, K, D] -> [B, K]``; what was seen is a fixed aim.
    """
    with torch.no_grad():
        aim = model.projection(model.represent(observation))
    return -functional.cosine_similarity(model.projected(model.projection(foretold)), aim, dim=-1)


def losses(model: MuZeroModel, targets: Targets) -> tuple[dict[str, Tensor], Tensor]:
    """Each part of the loss ``[B, K + 1]``, and what is said of the first value ``[B]``.

    The entropy is to be great, all others small.
    """
    first = model.represent(targets.observation[:, 0])
    latents, effects = unrolled(model, first, targets.action)
    policy, value = model.predict(latents)
    log_prob = model.choices.log_prob(policy, targets.candidates)
    reward = model.numbers.loss(model.reward(effects), targets.reward)
    distance = inconsistency(model, latents[:, 1:], targets.observation[:, 1:])
    reached = targets.known[:, :-1]  # a step is known where that is which it starts from
    parts = {
        "policy": -(targets.policy * log_prob).sum(dim=-1),
        "value": model.numbers.loss(value, targets.value) * targets.known,
        "reward": functional.pad(reward * reached, (1, 0)),
        "consistency": functional.pad(distance * targets.seen[:, 1:], (1, 0)),
        "entropy": model.choices.entropy(policy) * targets.policy.sum(dim=-1),
    }
    if model.going is not None:
        logits = model.going(effects)[..., 0]
        wrong = functional.binary_cross_entropy_with_logits(logits, targets.going, reduction="none")
        parts["going"] = functional.pad(wrong * targets.seen[:, 1:], (1, 0))
    return parts, model.numbers.mean(value[:, 0])
