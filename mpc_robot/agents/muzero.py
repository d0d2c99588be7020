"""MuZero (arXiv:1911.08265): learn a model that knows what matters, and search trees in it.

Actions are found by Gumbel MuZero's search (Danihelka et al., ICLR 2022), which improves its policy
even with few simulations, and continuous ones are sampled (Sampled MuZero, arXiv:2104.06303). What
was searched long ago is searched again with what is known by now (Reanalyse, arXiv:2104.06294), and
hidden states shall be those of what is seen later (EfficientZero, arXiv:2111.00210).
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch

from mpc_robot.agents.base import Metrics, restoring
from mpc_robot.agents.muzero_loss import importance_weights, losses, step_weights, targets_of
from mpc_robot.controllers.tree_rules import GumbelConfig
from mpc_robot.controllers.tree_search import Decision, SearchConfig, TreeSearch, search
from mpc_robot.controllers.trees import Trees
from mpc_robot.data.replay import Experience
from mpc_robot.data.searched import Opinions, PositionReplay
from mpc_robot.dynamics.muzero import Hidden, MuZeroModel, MuZeroModelConfig
from mpc_robot.dynamics.sampled_actions import torch_generator
from mpc_robot.envs.base import DiscreteSpec, EnvSpec, Task, discrete_spec, env_spec
from mpc_robot.errors import require
from mpc_robot.nn.choices import Choices, Moves, Numbers
from mpc_robot.nn.descent import Descent, DescentConfig

METRICS = {
    "policy": "policy/loss",
    "value": "critic/loss",
    "reward": "model/reward_loss",
    "consistency": "model/consistency_loss",
    "going": "model/going_loss",
    "entropy": "policy/entropy",
}
"""What the parts of the loss are called among metrics."""


@dataclass(frozen=True)
class MuZeroConfig:
    """Settings of MuZero; those of arXiv:1911.08265 in brackets, or of the paper named.

    Attributes:
        model: shape of the networks.
        gumbel: how a search explores [Gumbel MuZero: 16 considered, scale 0.1 and 50 visits].
        simulations: of a search in learning [50 in Atari; Gumbel MuZero learns with 2 to 50].
        simulations_of_controller: of a search when it matters.
        discount: of rewards per step [0.997].
        unroll: steps that the model is followed for in learning [5].
        n_step: rewards before the value of a search closes a target [10; EfficientZero: 5].
        value_weight: of the value's loss [0.25].
        consistency_weight: of the distance between hidden states foretold and of what was seen
            [0; EfficientZero: 2].
        entropy_weight: reward for not being sure yet, nats [0; EfficientZero V2,
            arXiv:2403.00564: 0.005].
        batch_size: positions per update [1024; EfficientZero: 256].
        updates_per_step: per env step after warm-up; in games, per move of one that has ended.
        warmup_steps: env steps before learning begins; until then the search knows nothing.
        descent: of the model [by gradients of any length; EfficientZero: 5 at most].
        priority_exponent: alpha, how much errors decide what is learned from [1; EfficientZero:
            0.6].
        importance_exponent: beta, how much of that is made up for by weights [1; EfficientZero:
            0.4 at first].
        reanalyse_every: updates between searches of old positions.
        reanalyse_batch: positions searched again then, as they follow in the replay.
        target_every: updates between copies of the model to the one that searches them
            [Reanalyse: 100 to 200].
        capacity: positions that are remembered.
        games: of self-play, side by side.
        opening_moves: random moves, up to so many, before a game of self-play begins [0]: else a
            learner that knows how to open sees nothing else, and does not know what others do.
        sides: of games, as :class:`mpc_robot.agents.alphazero.AlphaZeroConfig` has them.
    """

    model: MuZeroModelConfig = field(default_factory=MuZeroModelConfig)
    gumbel: GumbelConfig = field(default_factory=GumbelConfig)
    simulations: int = 16
    simulations_of_controller: int = 16
    discount: float = 0.997
    unroll: int = 5
    n_step: int = 5
    value_weight: float = 0.25
    consistency_weight: float = 2.0
    entropy_weight: float = 0.005
    batch_size: int = 128
    updates_per_step: float = 1.0
    warmup_steps: int = 1_000
    descent: DescentConfig = field(default_factory=lambda: DescentConfig(1e-3, "norm", 5.0))
    priority_exponent: float = 0.6
    importance_exponent: float = 0.4
    reanalyse_every: int = 10
    reanalyse_batch: int = 500
    target_every: int = 100
    capacity: int = 200_000
    games: int = 32
    opening_moves: int = 0
    sides: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        require(0.0 < self.discount <= 1.0, "discount", "in (0, 1]", self.discount)
        for name in (
            *("simulations", "simulations_of_controller", "unroll", "n_step", "batch_size"),
            *("warmup_steps", "reanalyse_every", "reanalyse_batch", "target_every", "games"),
        ):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        often = 0.0 < self.updates_per_step < inf
        require(often, "updates_per_step", "positive", self.updates_per_step)
        for name in (
            *("value_weight", "consistency_weight", "entropy_weight", "priority_exponent"),
            *("importance_exponent", "opening_moves"),
        ):
            sound = 0.0 <= getattr(self, name) < torch.inf
            require(sound, name, "finite, at least 0", getattr(self, name))
        require(self.capacity >= 2, "capacity", "at least 2", self.capacity)


def muzero_spec(env: gym.Env[Any, Any]) -> EnvSpec | DiscreteSpec:
    """The sizes of an environment of vectors, with actions that are continuous or numbered.

    Raises:
        ValueError: if it has other observations or actions.
    """
    numbered = isinstance(env.action_space, gym.spaces.MultiDiscrete)
    return discrete_spec(env) if numbered else env_spec(env)


def think(
    model: MuZeroModel,
    observation: npt.NDArray[np.floating],
    config: SearchConfig,
    rng: np.random.Generator,
) -> tuple[Opinions, Decision]:
    """Search from observations ``[B, D]``: what to hold of them, and what it came to."""
    roots = model.root(observation, rng)
    decision = search(model, Trees(roots, rng), config, rng)
    policy = decision.policy.astype(np.float32)
    return Opinions(roots.embedding[1], policy, decision.improved_value), decision


class MuZero:
    """The Agent: a model that is learned from positions, and searched in at each of them.

    Attributes:
        model: what acts, and learns.
        target: the model as it was some updates ago, which positions are searched again with.
        replay: what was seen, done, and held of it.
        rng: draws everything.
        exploring: how it searches while it learns.
        deciding: how it searches when it matters.
        steps: real steps so far, of which it can learn.
        updates: of the model so far.
    """

    def __init__(
        self,
        task: Task,
        spec: EnvSpec | DiscreteSpec,
        config: MuZeroConfig,
        seed: int,
        *,
        players: int = 1,
    ) -> None:
        """An agent that knows nothing yet.

        Args:
            task: what to do.
            spec: shapes, and bounds or numbers of actions.
            config: its settings.
            seed: of all that is random.
            players: 2 where two take turns, see :class:`MuZeroModel`.
        """
        self.task, self.spec, self.config = task, spec, config
        self.rng = np.random.default_rng(seed)
        seen = range(spec.observation_dim) if task.policy_inputs is None else task.policy_inputs
        choices = choices_of(spec, config.model.candidates)
        generator = torch_generator(self.rng)
        self.model = MuZeroModel(
            seen, choices, config.discount, config.model, generator, players=players
        )
        self.target = deepcopy(self.model).requires_grad_(False)
        self._descent = Descent(self.model.parameters(), config.descent)
        self.replay = PositionReplay(
            spec.observation_dim, choices.size, choices.num, config.capacity
        )
        self.steps = self.updates = self._revised = 0
        self.exploring = SearchConfig(config.gumbel, config.simulations)
        self.deciding = SearchConfig(
            replace(config.gumbel, noise=0.0), config.simulations_of_controller
        )
        self._opinions: Opinions | None = None

    def act(self, observation: npt.NDArray[np.float64], explore: bool) -> npt.NDArray[np.float64]:
        """Search; exploring adds Gumbel noise at the root, and what was found is kept to learn."""
        config = self.exploring if explore else self.deciding
        opinions, decision = think(self.model, observation[None], config, self.rng)
        self._opinions = opinions if explore else None
        chosen: npt.NDArray[np.float64] = self.model.choices.apply(
            opinions.candidates[0, decision.action[0]]
        )
        return chosen

    def observe(self, experience: Experience) -> None:
        """Remember a real step, and what was held of the position before it."""
        action = self.model.choices.read(np.asarray(experience.action))
        opinions = self._opinions or self._unsearched(experience.observation)
        beyond = self.model.evaluate(experience.next_observation[None])[0]
        self.replay.add(experience, action, opinions, float(beyond))
        self._opinions = None
        self.steps += 1

    def update(self) -> Metrics:
        """Learn from positions as often as is due, and every so often search old ones again."""
        since = self.steps - self.config.warmup_steps + 1
        due = int(self.config.updates_per_step * since) - self.updates
        metrics: Metrics = {}
        for _ in range(due):
            if self.updates % self.config.target_every == 0:
                self.follow()
            if self.updates % self.config.reanalyse_every == 0:
                metrics |= self.reanalyse()
            metrics |= self.learn()
            self.updates += 1
        return metrics

    def controller(self) -> TreeSearch[Hidden]:
        """Searches the model as it is now and will become, without exploration."""
        return TreeSearch(self.model, self.deciding)

    def follow(self) -> None:
        """Scale what is seen by all that was, and let the target be what the model is now."""
        self.model.features.fit(torch.from_numpy(self.replay.observations))
        self.target.load_state_dict(self.model.state_dict())

    def reanalyse(self) -> Metrics:
        """Search again from the positions whose turn it is (arXiv:2104.06294)."""
        going = self.replay.going
        turns = self._revised + np.arange(min(self.config.reanalyse_batch, len(going)))
        self._revised = int(turns[-1] + 1) % len(going)
        rows = going[turns % len(going)]
        seen = self.replay.observations[rows]
        opinions, _ = think(self.target, seen, self.exploring, self.rng)
        change = opinions.value - self.replay.opinions(rows).value
        self.replay.revise(rows, opinions)
        return {"reanalyse/value_change": float(np.abs(change).mean())}

    def learn(self) -> Metrics:
        """One step of the model on a batch of positions drawn by how wrong it is about them."""
        config = self.config
        rows, probability = self.replay.draw(config.batch_size, self.rng)
        windows = self.replay.windows(rows, config.unroll + config.n_step)
        # What is worth something to one is worth as much less to the other, who moves next.
        discount = config.discount if self.model.players == 1 else -config.discount
        targets = targets_of(windows, config.unroll, config.n_step, discount)
        parts, value = losses(self.model, targets)
        weights = {
            "policy": 1.0,
            "value": config.value_weight,
            "reward": 1.0,
            "consistency": config.consistency_weight,
            "going": 1.0,
            "entropy": -config.entropy_weight,
        }
        whole = sum((weights[name] * part for name, part in parts.items()), torch.zeros(()))
        importance = importance_weights(probability, config.importance_exponent)
        each = (whole * step_weights(config.unroll)).sum(dim=1)
        self._descent.step((each * torch.from_numpy(importance).float()).mean())
        greatest = self.model.numbers.greatest
        error = (value.detach() - targets.value[:, 0].clamp(-greatest, greatest)).abs()
        surprise = error.double().numpy() + 1e-3  # what is known well may still be drawn
        self.replay.prioritise(rows, surprise**config.priority_exponent)
        return {METRICS[name]: part.mean().item() for name, part in parts.items()} | {
            "critic/error": float(surprise.mean())
        }

    def _unsearched(self, observation: npt.NDArray[np.float64]) -> Opinions:
        """Of a position that somebody else acted at: nobody knows what to do there."""
        choices = self.model.choices
        nothing = np.zeros((1, choices.num, choices.size), np.float32)
        return Opinions(nothing, nothing[..., 0], self.model.evaluate(observation[None]))

    def state_dict(self) -> dict[str, Any]:
        """Models, optimizer, replay, counters and random state."""
        return {
            "model": dict(self.model.state_dict()),
            "target": dict(self.target.state_dict()),
            "descent": self._descent.state_dict(),
            "replay": self.replay.state_dict(),
            "rng": self.rng.bit_generator.state,
            "steps": self.steps,
            "updates": self.updates,
            "revised": self._revised,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the agent that was saved.

        Raises:
            CheckpointError: if a part is missing or does not fit this task and config; the agent
                is of no use then.
        """
        with restoring(self):
            self.model.load_state_dict(state["model"])
            self.target.load_state_dict(state["target"])
            self._descent.load_state_dict(state["descent"])
            self.replay.load_state_dict(state["replay"])
            self.rng.bit_generator.state = state["rng"]
            self.steps, self.updates = state["steps"], state["updates"]
            self._revised, self._opinions = state["revised"], None


def choices_of(spec: EnvSpec | DiscreteSpec, candidates: int) -> Choices:
    """What may be done in an environment; of continuous actions so many are tried at a time."""
    if isinstance(spec, DiscreteSpec):
        return Numbers(spec.num_actions)
    return Moves(spec.action_low, spec.action_high, candidates)
