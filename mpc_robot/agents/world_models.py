"""World Models (arXiv:1803.10122): learn to see, to remember, and inside a dream to act.

A round has four stages. Frames are collected, in the first round by random actions. An autoencoder
learns to see them as a few latents (V), a recurrent network to foresee the latents (M), and a
linear controller of both (C) is found by CMA-ES in what M imagines, without any further frame. In
later rounds relatives of the controller collect, which is the paper's iterative procedure.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mpc_robot.agents.base import Metrics, restoring
from mpc_robot.agents.evolution import CMAES
from mpc_robot.agents.linear_controller import Acting, from_rest, linear_actions
from mpc_robot.controllers.filtered import FilteredController
from mpc_robot.controllers.policy import PolicyController
from mpc_robot.data.chunks import Arrays, Chunk
from mpc_robot.data.replay import Experience
from mpc_robot.data.sequences import SequenceReplay, require_capacity
from mpc_robot.dynamics.mdn_rnn import MDNRNN, MDNRNNConfig, MDNRNNState, memory_loss
from mpc_robot.dynamics.vision_memory import VisionMemory
from mpc_robot.envs.base import PixelSpec, Task
from mpc_robot.errors import require
from mpc_robot.nn.descent import Descent, DescentConfig
from mpc_robot.nn.latents import Gaussian
from mpc_robot.nn.vae import VAE, VAEConfig, vae_loss

Floats = npt.NDArray[np.float64]
SCALED_BY = 500
"""Frames whose mean and standard deviation all frames are scaled by."""


@dataclass(frozen=True)
class WorldModelsConfig:
    """Settings of World Models; the paper's for CarRacing (arXiv:1803.10122, appendix) in brackets.

    Attributes:
        vae: V, the autoencoder.
        memory: M, the recurrent network.
        rounds: of the iterative procedure [1]; each takes ``collect_steps`` actions, those that pay
            for its updates, and one per generation. What acts is what the last round came to:
            before the first is over, the action nearest to zero.
        collect_steps: actions of a round before it learns [10,000 episodes].
        hold: actions that a random one is held for at most: so much more is seen than where white
            noise leads [10 in its second experiment].
        exploration: standard deviation of noise on each weight of the controller when it collects,
            drawn for each episode (after arXiv:1706.01905) [0].
        capacity: frames that are remembered, a multiple of 1000 [all].
        updates_per_step: of V or M, per action taken meanwhile.
        vae_updates: of V in a round [1 epoch].
        vae_batch: frames per update of V [100].
        vae_rate: learning rate of V [1e-4].
        memory_updates: of M in a round [20 epochs].
        memory_batch: sequences per update of M [100].
        memory_length: of these sequences [1,000].
        memory_rate: learning rate of M [1e-3].
        max_grad_norm: of both [1 for each entry].
        generations: of CMA-ES in a round, one per action taken meanwhile [1,800].
        population: candidates of a generation [64].
        rollouts: dreams that each candidate is tried in [16].
        begin_within: dreams begin at one of the first so many observations of an episode, with what
            M remembers there [1].
        dream_steps: actions in a dream [1,000].
        sigma: first step size of CMA-ES [0.1].
    """

    vae: VAEConfig = field(default_factory=VAEConfig)
    memory: MDNRNNConfig = field(default_factory=MDNRNNConfig)
    rounds: int = 1
    collect_steps: int = 10_000
    hold: int = 10
    exploration: float = 0.1
    capacity: int = 100_000
    updates_per_step: int = 4
    vae_updates: int = 4_000
    vae_batch: int = 64
    vae_rate: float = 1e-3
    memory_updates: int = 4_000
    memory_batch: int = 32
    memory_length: int = 32
    memory_rate: float = 1e-3
    max_grad_norm: float = 100.0
    generations: int = 300
    population: int = 64
    rollouts: int = 16
    begin_within: int = 1
    dream_steps: int = 250
    sigma: float = 0.1

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        longest = max(self.memory_length, self.begin_within)
        positive = (
            *("rounds", "hold", "updates_per_step", "vae_updates", "vae_batch", "memory_updates"),
            *("memory_batch", "generations", "rollouts", "begin_within", "dream_steps"),
        )
        leasts = {"memory_length": 2, "population": 4, "collect_steps": longest}
        for name, least in {**dict.fromkeys(positive, 1), **leasts}.items():
            require(getattr(self, name) >= least, name, f"at least {least}", getattr(self, name))
        require_capacity(self.capacity, longest)
        sound = 0.0 <= self.exploration < np.inf
        require(sound, "exploration", "finite, at least 0", self.exploration)
        for name in ("vae_rate", "memory_rate", "max_grad_norm", "sigma"):
            require(0.0 < getattr(self, name) < np.inf, name, "positive", getattr(self, name))

    @property
    def round_actions(self) -> int:
        """Actions that a round takes."""
        updates = (self.vae_updates, self.memory_updates)
        learning = sum(math.ceil(each / self.updates_per_step) for each in updates)
        return self.collect_steps + learning + self.generations


@torch.no_grad()
def dream(
    model: MDNRNN, weights: Tensor, start: MDNRNNState, steps: int, rng: torch.Generator
) -> Tensor:
    """Returns ``[P, R]`` of linear controllers ``[P, n]`` in dreams from R states.

    A dream is the same for all controllers, also in what chance decides; where its episode may
    have ended, what is earned counts by how likely it has not.
    """
    num, dreams = len(weights), len(start.latent)
    state = MDNRNNState(*(part.repeat(num, 1) for part in vars(start).values()))
    returns, alive = weights.new_zeros(num * dreams), weights.new_ones(num * dreams)
    for _ in range(steps):
        features = state.features.unflatten(0, (num, dreams))
        action = linear_actions(weights, features, model.low, model.high).flatten(0, 1)
        uniform, normal = (each.repeat(num, 1) for each in model.noise(dreams, rng))
        after = model.imagine(state, action, (uniform, normal))
        returns += alive * after.reward
        alive *= after.continues
        state = after.state
    return returns.view(num, dreams)


class WorldModels:
    """The Agent: frames, what they show, what follows, and what to do.

    Attributes:
        rng: draws everything.
        vae: V.
        model: M.
        weights: C, the matrix and biases of the linear controller ``[n]``.
        replay: all real frames.
        codes: what V saw in them when M began to learn: means and standard deviations of latents.
        round: rounds completed.
        stage: of the round under way: 0 collect, 1 learn to see, 2 to remember, 3 to act.
        done: actions, updates or generations of this stage.
    """

    _last: Floats | None
    _relative: Tensor | None

    def __init__(self, task: Task, spec: PixelSpec, config: WorldModelsConfig, seed: int) -> None:
        """An agent that knows nothing yet."""
        self.task, self.spec, self.config = task, spec, config
        self.rng = torch.Generator().manual_seed(seed)
        bounds, latents = (spec.action_low, spec.action_high), config.vae.latents
        self.vae = VAE(spec.frame_shape, config.vae, self.rng)
        self.model = MDNRNN(bounds, latents, config.memory, self.rng)
        self.weights = torch.zeros(spec.action_dim * (self.model.features + 1))
        see = DescentConfig(config.vae_rate, "norm", config.max_grad_norm)
        remember = DescentConfig(config.memory_rate, "norm", config.max_grad_norm)
        self._descents = {
            "vae": Descent(self.vae.parameters(), see),
            "memory": Descent(self.model.parameters(), remember),
        }
        self._search = self._new_search()
        self.replay = SequenceReplay(
            spec.action_dim, frame_shape=spec.frame_shape, capacity=config.capacity
        )
        self.codes = SequenceReplay(
            spec.action_dim, vector_dim=2 * latents, capacity=config.capacity
        )
        self.round = self.stage = self.done = 0
        self._acting = Acting(deepcopy(self.vae), deepcopy(self.model), self.weights)
        self._belief = self._acting.belief()
        self._forget()

    def to(self, device: torch.device) -> None:
        """Live on a device; frames stay in the memory of the CPU."""
        self.vae.to(device)
        self.model.to(device)
        self._acting.to(device)

    # In the real environment.

    def act(self, observation: Any, explore: bool) -> Floats:
        """The controller's action; to explore, a random one at first, later a relative's."""
        if explore and self.round == 0:
            self._last = self._random_action()
        else:
            belief = torch.from_numpy(self._belief.update(observation, self._last)).float()
            weights = self._explorer() if explore else self._acting.weights
            self._last = self._acting.controlled_by(weights, belief).double().numpy()
        return self._last

    def observe(self, experience: Experience) -> None:
        """Remember a real step."""
        self.replay.add(experience)
        if experience.terminated or experience.truncated:
            self._forget()

    def controller(self) -> FilteredController:
        """V, M and C as the last round left them, and later ones will, without exploration."""
        policy = PolicyController(self._acting.controlled)
        return FilteredController(self._acting.belief(), policy)

    def world_model(self) -> VisionMemory | None:
        """V and M as the last round left them, None before the first is over."""
        return VisionMemory(self._acting.vae, self._acting.model) if self.round else None

    def _forget(self) -> None:
        """Forget what belongs to an episode."""
        self._belief.reset(0)
        self._last = self._relative = None
        self._held = 0

    def _random_action(self) -> Floats:
        """A random action ``[A]``, uniform from rest to either bound, held for a random time."""
        if self._held == 0 or self._last is None:
            self._held = int(torch.randint(self.config.hold, (1,), generator=self.rng)) + 1
            share = 2.0 * torch.rand(self.spec.action_dim, generator=self.rng).double() - 1.0
            bounds = (self.spec.action_low, self.spec.action_high)
            self._last = from_rest(share, *map(torch.from_numpy, bounds)).numpy()
        self._held -= 1
        return self._last

    def _explorer(self) -> Tensor:
        """A controller ``[n]`` near the one that acts, for all of an episode."""
        explorer = self._relative
        if explorer is None:
            noise = torch.randn(self.weights.shape, generator=self.rng)
            self._relative = explorer = self._acting.weights + self.config.exploration * noise
        return explorer

    # In the mind.

    def update(self) -> Metrics:
        """Go on with the stage that is due, as far as an action pays for; metrics of the last."""
        config, metrics = self.config, Metrics()
        if self.round == config.rounds:
            return metrics
        stages: tuple[tuple[int, int, Callable[[], Metrics]], ...] = (
            (config.collect_steps, 1, Metrics),
            (config.vae_updates, config.updates_per_step, self.learn_to_see),
            (config.memory_updates, config.updates_per_step, self.learn_to_remember),
            (config.generations, 1, self.learn_to_act),
        )
        length, pace, learn = stages[self.stage]
        for _ in range(min(pace, length - self.done)):
            metrics = learn()
            self.done += 1
        if self.done == length:
            self.done, self.stage = 0, (self.stage + 1) % len(stages)
            if self.stage == 0:
                self.round += 1
                self._acting.become(self.vae, self.model, self.weights)
                self._forget()  # what M remembered, another would not understand
        return metrics

    def learn_to_see(self) -> Metrics:
        """One update of V; before the first of all, the scale of frames is taken."""
        if self.round == self.done == 0:
            self.vae.scale.fit(self._frames(SCALED_BY))
        loss, metrics = vae_loss(self.vae, self._frames(self.config.vae_batch), self.rng)
        self._descents["vae"].step(loss)
        return metrics

    def _frames(self, num: int) -> Tensor:
        """Frames ``[num, H, W, C]`` of the replay."""
        seen = self.replay.sample(num, 1, self.rng)
        if seen.frame is None:
            raise RuntimeError("replay: expected frames, got none")
        return seen.frame[:, 0].to(self.model.device)

    def learn_to_remember(self) -> Metrics:
        """One update of M; before the first, V looks at all frames once more."""
        if self.done == 0:
            self.encode()
        config = self.config
        drawn = self.codes.sample(config.memory_batch, config.memory_length, self.rng)
        seen = drawn.to(self.model.device)
        loss, metrics = memory_loss(self.model, self._drawn(seen.vector), seen)
        self._descents["memory"].step(loss)
        return metrics

    def learn_to_act(self) -> Metrics:
        """One generation of C, in dreams that begin where episodes did, or soon after."""
        if self.done == 0:
            self._search = self._new_search()
        start = self._beginnings(self.config.rollouts)

        def score(weights: Tensor) -> Tensor:
            """Mean return in the dreams ``[P]``."""
            there, steps = weights.to(self.model.device), self.config.dream_steps
            return dream(self.model, there, start, steps, self.rng).mean(dim=1).cpu()

        scores = self._search.evolve(score)
        self.weights = torch.from_numpy(self._search.mean).float()
        return {
            "dream/return_mean": scores.mean().item(),
            "dream/return_best": scores.max().item(),
            "dream/sigma": self._search.sigma,
        }

    def encode(self) -> None:
        """Let V look at all frames, and keep what it sees in ``codes``; one chunk in memory."""
        kept = self.replay.state_dict()
        chunks = [*kept["chunks"], Chunk(lambda: kept["rest"])]
        nothing = {name: column[:0] for name, column in self._coded(chunks[-1]).items()}
        coded = [Chunk(partial(self._coded, chunk)) for chunk in chunks]
        self.codes.load_state_dict({"chunks": coded, "rest": nothing})

    @torch.no_grad()
    def _coded(self, chunk: Chunk) -> Arrays:
        """The rows of a chunk with codes ``[n, 2 Z]`` in place of frames."""
        rows = dict(chunk.arrays())
        seen = self.vae.encode(torch.from_numpy(rows.pop("frame")).to(self.model.device))
        return rows | {"vector": torch.cat([seen.mean, seen.std], dim=-1).cpu().numpy()}

    def _drawn(self, codes: Tensor | None) -> Tensor:
        """Latents ``[..., Z]`` as frames with these codes may stand for, anew each time."""
        if codes is None:
            raise RuntimeError("codes: expected vectors, got none")
        seen = Gaussian(*codes.chunk(2, dim=-1))
        return seen.sample(torch.randn(seen.mean.shape, generator=self.rng).to(codes.device))

    @torch.no_grad()
    def _beginnings(self, num: int) -> MDNRNNState:
        """States ``[num]`` early in episodes, or anywhere if no beginning is left."""
        within = self.config.begin_within
        early = self.codes.early(within)
        rows = early[torch.randint(len(early), (num,), generator=self.rng).numpy()]
        starts = np.clip(rows - within + 1, 0, len(self.codes) - within)
        seen = self.codes.sequences(starts, within).to(self.model.device)
        states, _ = self.model.observe(self._drawn(seen.vector), seen)
        return MDNRNNState(*(part[np.arange(num), rows - starts] for part in vars(states).values()))

    def _new_search(self) -> CMAES:
        """A search around the controller that there is."""
        start, config = self.weights.double().numpy(), self.config
        return CMAES(start, config.sigma, config.population, self.rng)

    # Between runs.

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimizers, search, replay, codes, counters and random state."""
        return {
            "vae": dict(self.vae.state_dict()),
            "memory": dict(self.model.state_dict()),
            "descents": {name: one.state_dict() for name, one in self._descents.items()},
            "weights": self.weights,
            "acting": self._acting.state_dict(),
            "search": self._search.state_dict(),
            "replay": self.replay.state_dict(),
            "codes": self.codes.state_dict(),
            "round": self.round,
            "stage": self.stage,
            "done": self.done,
            "rng": self.rng.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the agent that was saved at the end of an episode.

        Raises:
            CheckpointError: if a part is missing or does not fit this task and config; the agent
                is of no use then.
        """
        with restoring(self):
            self.vae.load_state_dict(state["vae"])
            self.model.load_state_dict(state["memory"])
            for name, descent in self._descents.items():
                descent.load_state_dict(state["descents"][name])
            self.weights = state["weights"].clone()
            self._acting.load_state_dict(state["acting"])
            self._search.load_state_dict(state["search"])
            self.replay.load_state_dict(state["replay"])
            self.codes.load_state_dict(state["codes"])
            self.round, self.stage, self.done = state["round"], state["stage"], state["done"]
            self._forget()
            self.rng.set_state(state["rng"])
