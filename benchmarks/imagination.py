"""How fast do world models learn and dream, and how much of it is arithmetic?

    python -m benchmarks.imagination

Measured on one core, but for environments together: training steps and imagined steps of Dreamer's
preset model, of frames and of vectors, and of World Models' networks, against the processor's own
limit for matrix products; frames that environments show per second, also several at once; and the
memory of a replay of 100,000 frames. What is compared is measured in turns; rates count the
processor's time, but where the clock is named.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from benchmarks.common import RESULTS, Row, about
from benchmarks.planning import GEMM, measure_and_publish, peak, products, take_turns, typical
from benchmarks.training import operations
from torch import Tensor, nn

from mpc_robot.agents.dreamer_presets import dreamer_preset
from mpc_robot.agents.world_models import WorldModelsConfig
from mpc_robot.data.sequences import SequenceReplay, Sequences
from mpc_robot.dynamics.mdn_rnn import MDNRNN, memory_loss
from mpc_robot.dynamics.rssm import RSSM
from mpc_robot.dynamics.rssm_loss import model_loss
from mpc_robot.envs import get_task, make_env
from mpc_robot.envs.together import Together, make_together
from mpc_robot.nn.vae import VAE, vae_loss

PRODUCTS = (512, 1024)
FRAME, VECTOR, BOUNDS = (64, 64, 3), 5, (-np.ones(1), np.ones(1))
CANDIDATES, HORIZON = 1024, 15
FRAMES, ASKED = 100_000, 1.5
TOGETHER = 2
ENVIRONMENTS = ("CartpoleBalance-v0+pixels", "HalfCheetah-v5+pixels", "CarRacing-v3+pixels")


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        json: print the result as one JSON object on the last line.
        quick: only see that everything runs; the numbers mean little.
        out: where to write the result.
    """

    json: bool = False
    quick: bool = False
    out: Path = RESULTS / "imagination" / "imagination.json"


def seen(rows: int, length: int, rng: torch.Generator, *, frames: bool) -> Sequences:
    """Sequences of noise: what is in them costs nothing."""
    no = torch.zeros(rows, length, dtype=torch.bool)
    frame = torch.randint(256, (rows, length, *FRAME), generator=rng).to(torch.uint8)
    vector = torch.randn(rows, length, VECTOR, generator=rng)
    action, reward = torch.zeros(rows, length, 1), torch.zeros(rows, length)
    parts = (frame, None) if frames else (None, vector)
    return Sequences(*parts, action, reward, no, no, no)


def descent(network: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """A training step of a network by Adam."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def step() -> None:
        """Once."""
        optimizer.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def rate(case: str, metric: str, call: Callable[[], object], each: int, rounds: int) -> list[Row]:
    """How often a second a call does what it does ``each`` times, and its share of the limit."""
    times = take_turns({case: call, **products(PRODUCTS)}, rounds)
    seconds = typical(times[case])
    share = operations(call) / seconds / peak(times)
    return [
        Row(case, metric, each / seconds, "1/s"),
        Row(case, f"{metric}_gemm_share", share, "1", GEMM, share),
    ]


def imagined(case: str, model: RSSM | MDNRNN, state: int, rounds: int) -> list[Row]:
    """Steps a second of rollouts from the same state, a vector of so many entries."""
    rng = torch.Generator().manual_seed(0)
    start = model.start(np.zeros(state), CANDIDATES)
    actions = torch.rand(CANDIDATES, HORIZON, 1, generator=rng) * 2.0 - 1.0

    @torch.no_grad()
    def dream() -> None:
        """All candidates to the horizon."""
        model.rollout(start, actions, rng)  # type: ignore[arg-type]

    return rate(case, "imagined_steps_per_s", dream, CANDIDATES * HORIZON, rounds)


def measure_rssm(rounds: int, *, frames: bool) -> list[Row]:
    """Dreamer's model alone, without its behaviour, in the batches that Dreamer learns from."""
    config = dreamer_preset("v3", ENVIRONMENTS[0] if frames else "CartpoleBalance-v0")
    rng = torch.Generator().manual_seed(0)
    senses: dict[str, Any] = {"frame_shape": FRAME} if frames else {"vector_dim": VECTOR}
    model = RSSM(BOUNDS, config.model, rng, **senses)
    batch = seen(config.batch_size, config.length, rng, frames=frames)
    kind = "frames" if frames else "vectors"
    case = f"rssm tiny, {kind}, {config.batch_size}x{config.length}"
    train = descent(model, lambda: model_loss(model, batch, rng)[0])
    rows = rate(case, "train_steps_per_s", train, 1, rounds)
    dreamt = f"rssm tiny, {kind}, {CANDIDATES}x{HORIZON}"
    return rows + imagined(dreamt, model, model.features, rounds)


def measure_world_models(rounds: int) -> list[Row]:
    """The autoencoder and the recurrent network, as they are by default."""
    rng, config = torch.Generator().manual_seed(0), WorldModelsConfig()
    vae = VAE(FRAME, config.vae, rng)
    pictures = seen(config.vae_batch, 1, rng, frames=True).frame
    assert pictures is not None
    frames = pictures[:, 0]
    train = descent(vae, lambda: vae_loss(vae, frames, rng)[0])
    rows = rate(f"vae, {config.vae_batch} frames", "train_steps_per_s", train, 1, rounds)
    model = MDNRNN(BOUNDS, config.vae.latents, config.memory, rng)
    batch = seen(config.memory_batch, config.memory_length, rng, frames=False)
    latents = torch.randn(*batch.reward.shape, config.vae.latents, generator=rng)
    remember = descent(model, lambda: memory_loss(model, latents, batch)[0])
    name = f"mdn-rnn {config.memory.hidden}"
    case = f"{name}, {config.memory_batch}x{config.memory_length}"
    rows += rate(case, "train_steps_per_s", remember, 1, rounds)
    whole = model.features + config.memory.hidden
    return rows + imagined(f"{name}, {CANDIDATES}x{HORIZON}", model, whole, rounds)


def measure_frames(task: str, steps: int, rounds: int) -> list[Row]:
    """Frames a second that an environment shows, its own work included."""
    with closing(make_env(get_task(task))) as env:
        env.reset(seed=0)
        space: Any = env.action_space
        action = np.clip(np.zeros(space.shape), space.low, space.high).astype(space.dtype)
        play = partial(_play, env, action, steps)
        seconds = typical(take_turns({task: play}, rounds)[task])
    return [Row(task, "frames_per_s", steps / seconds, "1/s")]


def _play(env: gym.Env[Any, Any], action: Any, steps: int) -> None:
    """So many steps, from the start where an episode has ended."""
    for _ in range(steps):
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset(seed=0)


def measure_together(task: str, num: int, steps: int, rounds: int) -> list[Row]:
    """Frames a second of one environment and of several that are stepped together, by the clock."""
    known = get_task(task)
    with closing(make_env(known)) as alone, closing(make_together(known, num)) as several:
        alone.reset(seed=0)
        several.reset(seed=0)
        idle = np.zeros(several.single_action_space.shape or ())
        calls = {
            f"{task}, by the clock": partial(_play, alone, idle, steps),
            f"{task}, {num} together": partial(
                _play_together, several, np.stack([idle] * num), steps
            ),
        }
        times = take_turns(calls, rounds)
    (one, alone_s), (case, together_s) = (
        (name, float(np.median(taken[:, 0]))) for name, taken in times.items()
    )
    rows = [Row(one, "frames_per_s", steps / alone_s, "1/s")]
    ratio = num * alone_s / together_s
    return [*rows, Row(case, "frames_per_s", num * steps / together_s, "1/s", one, ratio)]


def _play_together(envs: Together, actions: Any, steps: int) -> None:
    """So many steps of each, from the start when all episodes have ended."""
    for _ in range(steps):
        _, _, terminated, truncated, _ = envs.step(actions)
        if (terminated | truncated).all():
            envs.reset(seed=0)


def measure_replay() -> list[Row]:
    """Memory of a full replay of frames, beside what was asked."""
    replay = SequenceReplay(1, frame_shape=FRAME, capacity=FRAMES)
    size = replay.nbytes / 2**30
    limit = f"asked: {ASKED} GiB"
    return [Row(f"replay of {FRAMES:,} frames", "memory", size, "GiB", limit, size / ASKED)]


def measure(options: Options) -> dict[str, Any]:
    """All of it, as a result for disk; environments that can not be made are noted."""
    rounds, steps = (1, 2) if options.quick else (10, 50)
    result, notes = about("imagination"), list[str]()
    rows = measure_rssm(rounds, frames=True) + measure_rssm(rounds, frames=False)
    rows += measure_world_models(rounds) + measure_replay()
    for task in ENVIRONMENTS:
        try:
            rows += measure_frames(task, steps, rounds)
            if task == ENVIRONMENTS[0]:
                rows += measure_together(task, TOGETHER, steps, rounds)
        except (RuntimeError, gym.error.Error) as error:
            notes.append(f"{task}: {error}")
    return {**result, "rows": [asdict(row) for row in rows], "notes": notes}


def main(argv: list[str] | None = None) -> None:
    """Measure, write, tell."""
    measure_and_publish(Options, measure, __doc__, argv)


if __name__ == "__main__":
    main()
