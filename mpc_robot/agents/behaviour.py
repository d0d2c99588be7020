"""What Dreamer learns by imagination: a policy, and a critic of what lies beyond the horizon.

From states that explain what was seen, the policy is followed for some steps in the world model.
The critic learns the returns of these dreams, and the policy climbs them: by value gradients
through the dynamics (Dreamer v1, arXiv:1912.01603, and v2, arXiv:2010.02193, for continuous
control), by likelihood ratios (v3, arXiv:2301.04104), or by a mixture of both.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mpc_robot.agents.base import Metrics
from mpc_robot.data.sequences import Sequences
from mpc_robot.dynamics.rssm import RSSM, RSSMState
from mpc_robot.errors import require, require_choices
from mpc_robot.nn.actor import Actor, ActorConfig
from mpc_robot.nn.descent import Descent, DescentConfig
from mpc_robot.nn.heads import GaussianHead, TwoHotHead
from mpc_robot.nn.return_scale import ReturnScale


@dataclass(frozen=True)
class BehaviourConfig:
    """How to learn from dreams; values of v3 (arXiv:2301.04104) in brackets.

    Attributes:
        actor: the policy.
        critic_hidden: width of the critic's hidden layers [3 layers].
        critic: likelihood of returns, ``twohot`` or ``gaussian`` [twohot; v1, v2: gaussian].
        slow: what a slow copy of the critic is for: ``target``, to say what lies beyond the horizon
            (v2); ``regulariser``, to hold the critic to what it said before (v3); ``none``, so that
            there is no copy (v1) [regulariser].
        slow_rate: share by which the slow copy follows [0.02; v2: 1].
        slow_every: training steps after which it does [1; v2: 100].
        replay_scale: weight of the critic's loss on what was really earned [0.3; v1, v2: 0].
        starts: steps at the end of each sequence that dreams begin at, at most [all].
        horizon: steps of a dream [15].
        discount: of rewards per action [1 - 1/333; v1, v2: 0.99].
        trace: lambda, by which returns rely on what was dreamt rather than on the critic [0.95].
        reinforce: share of the policy's gradient by likelihood ratios; the rest goes through the
            dynamics [1; v1, v2: 0].
        entropy: weight of the policy's entropy [3e-4; v1: 0; v2: 1e-4].
        percentiles: between which returns are to lie within 1; None for returns as they are [0.05
            and 0.95; v1, v2: None].
        actor_descent: of the policy [4e-5; v1, v2: 8e-5].
        critic_descent: of the critic [4e-5; v1, v2: 8e-5].
    """

    actor: ActorConfig = field(default_factory=ActorConfig)
    critic_hidden: tuple[int, ...] = (128, 128)
    critic: Literal["twohot", "gaussian"] = "twohot"
    slow: Literal["none", "target", "regulariser"] = "regulariser"
    slow_rate: float = 0.02
    slow_every: int = 1
    replay_scale: float = 0.3
    starts: int = 8
    horizon: int = 15
    discount: float = 0.997
    trace: float = 0.95
    reinforce: float = 1.0
    entropy: float = 3e-4
    percentiles: tuple[float, float] | None = (0.05, 0.95)
    actor_descent: DescentConfig = field(default_factory=lambda: DescentConfig(rate=3e-4))
    critic_descent: DescentConfig = field(default_factory=lambda: DescentConfig(rate=3e-4))

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        require_choices(self)
        sound = len(self.critic_hidden) > 0 and min(self.critic_hidden) > 0
        require(sound, "critic_hidden", "positive widths of one layer or more", self.critic_hidden)
        for name in ("slow_every", "starts", "horizon"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        require(
            self.starts >= 2 or self.replay_scale == 0.0,
            "starts",
            "at least 2 for replay_scale",
            self.starts,
        )
        require(0.0 < self.slow_rate <= 1.0, "slow_rate", "a share in (0, 1]", self.slow_rate)
        require(0.0 < self.discount < 1.0, "discount", "in (0, 1)", self.discount)
        for name in ("trace", "reinforce"):
            require(0.0 <= getattr(self, name) <= 1.0, name, "in [0, 1]", getattr(self, name))
        for name in ("replay_scale", "entropy"):
            sound = 0.0 <= getattr(self, name) < torch.inf
            require(sound, name, "finite, at least 0", getattr(self, name))
        known = self.actor.squash == "clip" or self.entropy == 0.0
        require(known, "entropy", "0 where actions are squashed: theirs is not known", self.entropy)
        low, high = self.percentiles or (0.0, 1.0)
        require(0.0 <= low < high <= 1.0, "percentiles", "shares that ascend", self.percentiles)


def lambda_returns(
    reward: Tensor, discount: Tensor, beyond: Tensor, trace: Tensor | float
) -> Tensor:
    """Returns ``[T, ...]`` of T actions, backwards from the last (arXiv:1912.01603, eq. 6).

    Args:
        reward: that each action earned ``[T, ...]``.
        discount: of what comes after it, 0 where nothing can ``[T, ...]``.
        beyond: what the critic holds of the state that it led to ``[T, ...]``.
        trace: lambda, how much of the action after it counts rather than of the critic.
    """
    ahead, returns = beyond[-1], list[Tensor]()
    traces = trace * torch.ones_like(reward)
    for t in reversed(range(len(reward))):
        ahead = reward[t] + discount[t] * torch.lerp(beyond[t], ahead, traces[t])
        returns.append(ahead)
    return torch.stack(returns[::-1])


@dataclass(frozen=True)
class Dream:
    """What a policy does in a world model, from B states on.

    Attributes:
        features: of the states, from the first on ``[H + 1, B, F]``.
        raw: raw actions, see :class:`mpc_robot.nn.actor.Actor` ``[H, B, A]``.
        reward: of each action ``[H, B]``.
        discount: of what comes after each action ``[H, B]``.
        weight: how likely it is that each action's state is reached, discounted ``[H, B]``.
    """

    features: Tensor
    raw: Tensor
    reward: Tensor
    discount: Tensor
    weight: Tensor


def dream(
    model: RSSM,
    actor: Actor,
    start: RSSMState,
    alive: Tensor,
    *,
    config: BehaviourConfig,
    rng: torch.Generator,
) -> Dream:
    """Follow ``actor`` from ``start [B]``, of which those not ``alive [B]`` count for nothing.

    Gradients flow through the dynamics into the actions, but not from there into what the actor
    sees.
    """
    state, features, raw = start, [start.features], list[Tensor]()
    for _ in range(config.horizon):
        raw.append(actor.sample(features[-1].detach(), rng))
        state = model.imagine(state, actor.bounded(raw[-1]), rng)
        features.append(state.features)
    seen = torch.stack(features)
    discount = config.discount * model.continues(seen[1:])
    reached = torch.cat([alive[None], discount.detach()[:-1]]).cumprod(dim=0)
    return Dream(seen, torch.stack(raw), model.reward(seen[1:]), discount, reached)


class Behaviour(nn.Module):
    """Actor and critic, and how they learn.

    Attributes:
        actor: the policy.
        critic: what it holds of states.
        slow: the critic's slow copy, None if there is none.
        scale: of returns, None if they are taken as they are.
    """

    updates: Tensor

    def __init__(
        self,
        features: int,
        bounds: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
        config: BehaviourConfig,
        rng: torch.Generator,
    ) -> None:
        """One that has learned nothing.

        Args:
            features: F, of a state of the world model.
            bounds: least and greatest action ``[A]``.
            config: its settings.
            rng: draws the initial weights.
        """
        super().__init__()
        self.config = config
        self.actor = Actor(features, bounds, config.actor, rng)
        head = TwoHotHead if config.critic == "twohot" else GaussianHead
        self.critic: TwoHotHead | GaussianHead = head(features, config.critic_hidden, rng)
        self.slow = None if config.slow == "none" else deepcopy(self.critic).requires_grad_(False)
        self.scale = None if config.percentiles is None else ReturnScale(*config.percentiles)
        self.register_buffer("updates", torch.tensor(0))
        self._descents = {
            "actor": Descent(self.actor.parameters(), config.actor_descent),
            "critic": Descent(self.critic.parameters(), config.critic_descent),
        }

    def learn(
        self, model: RSSM, states: RSSMState, seen: Sequences, rng: torch.Generator
    ) -> Metrics:
        """A step of actor and critic.

        Args:
            model: what is dreamt in; it stays as it is.
            states: without gradients, that explain ``seen`` ``[B, T]``.
            seen: what was seen.
            rng: draws what happens in dreams.
        """
        states, seen = states.last(self.config.starts), seen.last(self.config.starts)
        alive = (~seen.terminated).float().flatten()
        with torch.set_grad_enabled(self.config.reinforce < 1.0):
            path = dream(model, self.actor, states.flatten(), alive, config=self.config, rng=rng)
            values = self._values(path.features)
            returns = lambda_returns(path.reward, path.discount, values[1:], self.config.trace)
        metrics = self._learn_policy(path, returns, values[:-1].detach())
        return metrics | self._learn_values(path, returns.detach(), states.features, seen)

    def descents_state(self) -> dict[str, Any]:
        """What the descents remember, for a checkpoint."""
        return {name: descent.state_dict() for name, descent in self._descents.items()}

    def load_descents_state(self, state: dict[str, Any]) -> None:
        """Go on with the descents as they were."""
        for name, descent in self._descents.items():
            descent.load_state_dict(state[name])

    def _values(self, features: Tensor) -> Tensor:
        """What states are worth, as far as the learning of others relies on it ``[...]``."""
        slow = self.slow if self.config.slow == "target" else None
        values: Tensor = (slow or self.critic)(features)
        return values

    def _learn_policy(self, path: Dream, returns: Tensor, values: Tensor) -> Metrics:
        """Up the returns, in units of their range, and up the entropy (arXiv:2010.02193, eq. 6)."""
        config = self.config
        scale = returns.new_ones(()) if self.scale is None else self.scale.follow(returns.detach())
        policy = self.actor(path.features[:-1].detach())
        advantage = (returns.detach() - values) / scale
        likelier = policy.log_prob(path.raw.detach()) * advantage
        entropy = policy.entropy()
        gain = torch.lerp(returns / scale, likelier, config.reinforce) + config.entropy * entropy
        norm = self._descents["actor"].step(-(path.weight * gain).mean())
        return {
            "policy/return": returns.mean().item(),
            "policy/scale": scale.item(),
            "policy/entropy": entropy.mean().item(),
            "policy/gradient": norm,
        }

    def _learn_values(
        self, path: Dream, returns: Tensor, features: Tensor, seen: Sequences
    ) -> Metrics:
        """Towards the returns of dreams, and of what was really done (arXiv:2301.04104).

        Args:
            path: what was dreamt.
            returns: of its actions ``[H, B * T]``.
            features: of the states where dreams began ``[B, T, F]``.
            seen: what was really done ``[B, T]``.
        """
        loss = (path.weight * self._errors(path.features[:-1].detach(), returns)).mean()
        metrics = {"critic/loss": loss.item()}
        if self.config.replay_scale > 0.0:
            earned, known = self._earned(seen, returns[0].view(seen.reward.shape))
            errors = (known * self._errors(features[:, :-1], earned)).mean()
            loss = loss + self.config.replay_scale * errors
            metrics["critic/replay_loss"] = errors.item()
        metrics["critic/gradient"] = self._descents["critic"].step(loss)
        self._follow()
        return metrics

    def _earned(self, seen: Sequences, worth: Tensor) -> tuple[Tensor, Tensor]:
        """Returns of real actions, all but the last ``[B, T - 1]``, and which of them were taken.

        They rely on what dreams say that states are worth, ``worth [B, T]``: also of an episode
        that was truncated or left, which would have gone on. After its last observation nothing
        was done.
        """
        last = seen.terminated | seen.truncated
        last[:, :-1] |= seen.is_first[:, 1:]
        returns = lambda_returns(
            seen.reward.T[1:],
            self.config.discount * (~seen.terminated).float().T[1:],
            worth.T[1:],
            self.config.trace * (~last).float().T[1:],
        )
        return returns.T.contiguous(), (~last).float()[:, :-1]

    def _errors(self, features: Tensor, returns: Tensor) -> Tensor:
        """Of the critic about ``returns [...]``, and about what its slow copy says if it is to."""
        targets = [returns]
        if self.config.slow == "regulariser" and self.slow is not None:
            with torch.no_grad():
                targets.append(self.slow(features))
        return self.critic.loss(features, *targets)

    @torch.no_grad()
    def _follow(self) -> None:
        """Let the slow copy follow if it is time."""
        self.updates.add_(1)
        if self.slow is not None and self.updates.item() % self.config.slow_every == 0:
            for slow, fast in zip(self.slow.parameters(), self.critic.parameters(), strict=True):
                slow.lerp_(fast, self.config.slow_rate)
