"""Dreamer: learn a world model from what was seen, and behaviour inside it by imagination.

Versions 1 (arXiv:1912.01603), 2 (arXiv:2010.02193) and 3 (arXiv:2301.04104) differ in settings
only, see :mod:`mpc_robot.agents.dreamer_presets`. It sees frames or vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mpc_robot.agents.base import Metrics, restoring
from mpc_robot.agents.behaviour import Behaviour, BehaviourConfig
from mpc_robot.agents.latent_planning import LatentPlanningConfig, latent_planner
from mpc_robot.agents.off_policy import uniform_action
from mpc_robot.controllers.filtered import FilteredController
from mpc_robot.controllers.policy import PolicyController
from mpc_robot.data.replay import Experience
from mpc_robot.data.sequences import SequenceReplay, Sequences, require_capacity
from mpc_robot.data.streams import Streams
from mpc_robot.dynamics.rssm import RSSM, RSSMConfig, RSSMState
from mpc_robot.dynamics.rssm_filter import LatentFilter, LatentFilters
from mpc_robot.dynamics.rssm_loss import model_loss
from mpc_robot.envs.base import EnvSpec, PixelSpec, Task, env_spec, pixel_spec
from mpc_robot.errors import require
from mpc_robot.nn.descent import Descent, DescentConfig

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DreamerConfig:
    """Settings of Dreamer; those of v3 (arXiv:2301.04104) in brackets.

    Attributes:
        model: the world model.
        model_descent: of the world model [4e-5; v1: 6e-4; v2: 3e-4].
        behaviour: actor and critic, and how they learn from dreams.
        batch_size: sequences per training step [16; v1, v2: 50].
        length: observations in each [64; v1, v2: 50].
        update_every: actions per training step [1 for vectors, 4 for frames; v1, v2: 5].
        warmup_steps: random actions before learning begins [v1, v2: 2500].
        pretrain: training steps of the world model alone when it begins [0; v1, v2: 100 of all]:
            what is learned in a wrong world is unlearned slowly, and does not see much meanwhile.
        capacity: observations of each environment that are remembered, a multiple of 1000
            [5,000,000].
        environments: that it acts in at once, each in a process of its own [1].
    """

    model: RSSMConfig = field(default_factory=RSSMConfig)
    model_descent: DescentConfig = field(default_factory=lambda: DescentConfig(rate=1e-3))
    behaviour: BehaviourConfig = field(default_factory=BehaviourConfig)
    batch_size: int = 16
    length: int = 32
    update_every: int = 1
    warmup_steps: int = 1_000
    pretrain: int = 400
    capacity: int = 100_000
    environments: int = 1

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        for name in ("batch_size", "update_every", "environments"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        require(self.pretrain >= 0, "pretrain", "at least 0", self.pretrain)
        require(self.length >= 2, "length", "at least 2", self.length)
        least = self.length * self.environments
        meant = f"at least the length {self.length} in each of environments {self.environments}"
        require(self.warmup_steps >= least, "warmup_steps", meant, self.warmup_steps)
        require_capacity(self.capacity, self.length)


def senses_spec(env: gym.Env[Any, Any]) -> PixelSpec | EnvSpec:
    """Sizes and limits of an environment seen as frames, or else as vectors.

    Raises:
        ValueError: if it is seen as neither, the action is not a flat bounded Box, or the control
            period is not known.
    """
    frames = env.observation_space.dtype == np.uint8
    return pixel_spec(env) if frames else env_spec(env)


class Dreamer:
    """The Agent: a replay of sequences, a world model of them, and behaviour learned inside.

    Attributes:
        rng: draws everything but what a filter does.
        model: the world model.
        behaviour: actor and critic.
        environments: that it acts in at once.
        replay: what was seen in each of them.
        steps: real actions so far.
    """

    def __init__(
        self, task: Task, spec: PixelSpec | EnvSpec, config: DreamerConfig, seed: int
    ) -> None:
        """An agent that knows nothing yet."""
        self.task, self.spec, self.config = task, spec, config
        self.rng = torch.Generator().manual_seed(seed)
        bounds = (spec.action_low, spec.action_high)
        frame_shape = spec.frame_shape if isinstance(spec, PixelSpec) else None
        vector_dim = spec.observation_dim if isinstance(spec, EnvSpec) else None
        self.model = RSSM(
            bounds,
            config.model,
            self.rng,
            frame_shape=frame_shape,
            vector_dim=vector_dim,
            entries=task.policy_inputs,
        )
        self.behaviour = Behaviour(self.model.features, bounds, config.behaviour, self.rng)
        self.environments = config.environments
        self.replay = Streams(
            self.environments,
            lambda: SequenceReplay(
                spec.action_dim,
                frame_shape=frame_shape,
                vector_dim=vector_dim,
                capacity=config.capacity,
            ),
        )
        self.steps = 0
        self._descent = Descent(self.model.parameters(), config.model_descent)
        self._beliefs = LatentFilters(self.model, self.environments)
        self._done: list[Floats | None] = [None] * self.environments

    def to(self, device: torch.device) -> None:
        """Live on a device; what was seen stays in the memory of the CPU."""
        self.model.to(device)
        self.behaviour.to(device)

    def act(self, observation: npt.NDArray[Any], explore: bool) -> Floats:
        """A random action during warm-up, then the policy's in what is believed by now."""
        action: Floats = self.act_in([0], [observation], explore)[0]
        return action

    @torch.no_grad()
    def act_in(self, places: Sequence[int], observations: Sequence[Any], explore: bool) -> Floats:
        """Actions ``[K, A]`` for observations of K environments."""
        for place in places:
            if self._done[place] is None:
                self._beliefs.begin(place, int(torch.randint(2**62, (), generator=self.rng)))
        done = [self._done[place] for place in places]
        features = self._beliefs.update(places, observations, done)
        if explore and self.steps < self.config.warmup_steps:
            actions = np.stack([uniform_action(self.spec, self.rng) for _ in places])
        else:
            seen = torch.as_tensor(features, dtype=torch.float32)
            actions = (self._explore(seen) if explore else self._mode(seen)).double().numpy()
        for place, action in zip(places, actions, strict=True):
            self._done[place] = action
        return actions

    def observe(self, experience: Experience) -> None:
        """Remember a real step; where it ends an episode, believe nothing any more."""
        self.observe_in(0, experience)

    def observe_in(self, place: int, experience: Experience) -> None:
        """The same of one of several environments."""
        self.replay.add(place, experience)
        self.steps += 1
        if experience.terminated or experience.truncated:
            self._done[place] = None

    def update(self) -> Metrics:
        """Learn if it is time."""
        since = self.steps - self.config.warmup_steps
        if since < 0 or since % self.config.update_every:
            return {}
        if since == 0:
            self._begin()
        return self.learn()

    def _begin(self) -> None:
        """Take the scale of what was seen in warm-up, and learn from it."""
        seen = self._sample()
        self.model.senses.fit(seen.frame, seen.vector)
        for _ in range(self.config.pretrain):
            self._learn_model()

    def _sample(self) -> Sequences:
        """Sequences of the replay."""
        config = self.config
        drawn = self.replay.sample(config.batch_size, config.length, self.rng)
        return drawn.to(self.model.device)

    def learn(self) -> Metrics:
        """One training step of the world model, and of actor and critic inside it."""
        seen, states, metrics = self._learn_model()
        return metrics | self.behaviour.learn(self.model, states.detach(), seen, self.rng)

    def _learn_model(self) -> tuple[Sequences, RSSMState, Metrics]:
        """One training step of the world model; what it saw, and the states that explain it."""
        seen = self._sample()
        loss, states, metrics = model_loss(self.model, seen, self.rng)
        metrics["model/gradient"] = self._descent.step(loss)
        return seen, states, metrics

    def controller(self) -> FilteredController:
        """The policy as it is now and will become, without exploration."""
        return FilteredController(LatentFilter(self.model), PolicyController(self._mode))

    def world_model(self) -> RSSM:
        """What it sees and imagines in."""
        return self.model

    def planner(self, config: LatentPlanningConfig | None = None) -> FilteredController:
        """A controller that plans in the world model, as PlaNet does."""
        return latent_planner(self.model, self.behaviour, self.spec, config)

    def _explore(self, features: Tensor) -> Tensor:
        """Actions to do in reality while learning, of features on the CPU."""
        return self.behaviour.actor.explore(features.to(self.model.device), self.rng).cpu()

    def _mode(self, features: Tensor) -> Tensor:
        """What the policy holds best, of features on the CPU."""
        return self.behaviour.actor.mode(features.to(self.model.device)).cpu()

    def state_dict(self) -> dict[str, Any]:
        """Networks, descents, replay, belief, counter and random state."""
        return {
            "model": dict(self.model.state_dict()),
            "model_descent": self._descent.state_dict(),
            "behaviour": dict(self.behaviour.state_dict()),
            "behaviour_descents": self.behaviour.descents_state(),
            "replay": self.replay.state_dict(),
            "beliefs": self._beliefs.state_dict(),
            "done": self._done,
            "rng": self.rng.get_state(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the agent that was saved.

        Raises:
            CheckpointError: if a part is missing or does not fit this task and config; the agent
                is of no use then.
        """
        with restoring(self):
            self.model.load_state_dict(state["model"])
            self._descent.load_state_dict(state["model_descent"])
            self.behaviour.load_state_dict(state["behaviour"])
            self.behaviour.load_descents_state(state["behaviour_descents"])
            self.replay.load_state_dict(state["replay"])
            self._beliefs.load_state_dict(state["beliefs"])
            self._done = list(state["done"])
            self.rng.set_state(state["rng"])
            self.steps = state["steps"]
