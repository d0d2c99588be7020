"""What does a step of training cost, part by part, and how much of it is arithmetic?

    python -m benchmarks.training

The default learner (double-horizon MBPO) and SAC, on one core, with a replay of random steps. An
env step pays for one update, its share of a fit of the model and of imagined rollouts. Operations
are counted while they run and set against the processor's own limit for matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.common import RESULTS, Row, about
from benchmarks.planning import GEMM, measure_and_publish, peak, products, take_turns, typical
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mpc_robot.agents.dhmbpo import DHMBPO
from mpc_robot.agents.dhmbpo_presets import dhmbpo_preset
from mpc_robot.agents.sac import SAC, SACConfig
from mpc_robot.controllers.simple import RandomController
from mpc_robot.data.replay import Experience
from mpc_robot.envs import Task, env_spec, get_task, make_env

SIZES = (512, 1024)


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        task: whose sizes count.
        steps: real steps in the replay.
        json: print the result as one JSON object on the last line.
        quick: only see that everything runs; the numbers mean little.
        out: where to write the result.
    """

    task: str = "Hopper-v5"
    steps: int = 10_000
    json: bool = False
    quick: bool = False
    out: Path = RESULTS / "training" / "training.json"


def random_steps(task: Task, number: int) -> Iterator[Experience]:
    """What random actions lead to."""
    with closing(make_env(task)) as env:
        spec = env_spec(env)
        controller = RandomController(spec.action_low, spec.action_high)
        observation, ended = np.array(env.reset(seed=0)[0], dtype=np.float64), False
        for _ in range(number):
            if ended:
                observation = np.array(env.reset()[0], dtype=np.float64)
            action = controller.act(observation)
            reached, reward, terminated, truncated, _ = env.step(action)
            after = np.array(reached, dtype=np.float64)
            ended = terminated or truncated
            yield Experience(observation, action, float(reward), after, terminated, truncated)
            observation = after


class Products(TorchDispatchMode):
    """Counts floating-point operations of matrix products by torch's own formulas.

    Torch's counter also follows modules, and fails at views made where gradients are off.

    Attributes:
        operations: so far.
    """

    def __init__(self) -> None:
        """From zero."""
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do as ever, and count."""
        given = kwargs or {}
        made = func(*args, **given)
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.operations += formula(*args, **given, out_val=made)
        return made


def operations(call: Callable[[], object]) -> float:
    """Floating-point operations of the matrix products in ``call``."""
    with Products() as counter:
        call()
    return float(counter.operations)


def part(
    case: str, call: Callable[[], object], every: float, rounds: int
) -> tuple[list[Row], float]:
    """One part of training, done every so many env steps; and its seconds per env step."""
    times = take_turns({case: call, **products(SIZES)}, rounds)
    seconds, most = typical(times[case]), peak(times)
    share = operations(call) / seconds / most
    rows = [
        Row(case, "time", seconds, "s"),
        Row(case, "time_per_env_step", seconds / every, "s"),
        Row(case, "gemm_share", share, "1", GEMM, share),
    ]
    return rows, seconds / every


def measure_default(task: Task, steps: int, rounds: int) -> list[Row]:
    """Double-horizon MBPO: fit, distribution rollouts and updates."""
    with closing(make_env(task)) as env:
        agent = DHMBPO(task, env_spec(env), dhmbpo_preset(task.name), seed=0)
    for experience in random_steps(task, steps):
        agent.observe(experience)
    agent.fit_model()
    agent.visit()
    config, rows, total = agent.config, [], 0.0
    apart = config.rollout_every / config.updates_per_step
    parts = {
        "model fit": (agent.fit_model, config.fit_every, 3),
        "distribution rollouts": (agent.visit, apart, 10),
        f"{config.rollout_every} updates": (partial(improve, agent), apart, 5),
    }
    for name, (call, every, times) in parts.items():
        found, seconds = part(f"dhmbpo {task.name}, {name}", call, every, min(times, rounds))
        rows, total = rows + found, total + seconds
    return [*rows, Row(f"dhmbpo {task.name}", "time_per_env_step", total, "s")]


def improve(agent: DHMBPO) -> None:
    """All updates between two distribution rollouts."""
    for _ in range(agent.config.rollout_every):
        agent.improve()


def measure_sac(task: Task, steps: int, rounds: int) -> list[Row]:
    """SAC: one update."""
    with closing(make_env(task)) as env:
        agent = SAC(task, env_spec(env), SACConfig(), seed=0)
    for experience in random_steps(task, steps):
        agent.observe(experience)
    return part(f"sac {task.name}, update", agent.update, 1.0, rounds)[0]


def measure(options: Options) -> dict[str, Any]:
    """Both learners, as a result for disk."""
    task, rounds = get_task(options.task), 2 if options.quick else 10
    result = about("training")
    rows = measure_default(task, options.steps, rounds)
    rows += measure_sac(task, options.steps, rounds)
    return {**result, "rows": [asdict(row) for row in rows], "notes": []}


def main(argv: list[str] | None = None) -> None:
    """Measure, write, tell."""
    measure_and_publish(Options, measure, __doc__, argv)


if __name__ == "__main__":
    main()
