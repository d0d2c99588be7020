"""How fast is planning in a learned model, and how much of it is anything but the model?

    python -m benchmarks.planning
    python -m benchmarks.planning --peers mbrl-lib PYTHON pytorch-mppi PYTHON

Measured on one core: imagined trajectories against the processor's own limit for matrix products,
every optimizer against the imagined trajectories that it asks for, the settings that ``make demo``
plans with, and peers at equal settings, each run by the interpreter it is installed for. What is
compared is measured in turns, so that a processor that slows down slows down both sides. Rates and
ratios count the processor's time, in which nothing else runs; latencies are by the clock.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import tyro
from benchmarks.common import RESULTS, Row, about, write_result
from benchmarks.peers.process import PeerError, PeerProcess
from rich.console import Console
from torch import Tensor

from mpc_robot.agents import PETS
from mpc_robot.agents.pets_presets import pets_preset
from mpc_robot.controllers.mpc import MPC
from mpc_robot.controllers.optimizers import OPTIMIZERS, make_optimizer
from mpc_robot.controllers.parameterization import ActionSpline
from mpc_robot.dynamics.base import Trajectories
from mpc_robot.dynamics.ensemble import EnsembleConfig, ProbabilisticEnsemble
from mpc_robot.envs import env_spec, get_task, make_env
from mpc_robot.envs.base import EnvSpec, Task
from mpc_robot.envs.rewards import never

GEMM = "fp32 matrix product"
ALONE = "its rollouts alone"
DEMO = "CartpoleSwingup-v0"


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        json: print the result as one JSON object on the last line.
        quick: only see that everything runs; the numbers mean little.
        peers: interpreters with a peer installed, by the peer's name.
        out: where to write the result.
    """

    json: bool = False
    quick: bool = False
    peers: dict[str, Path] = field(default_factory=dict)
    out: Path = RESULTS / "planning" / "planning.json"


@dataclass(frozen=True)
class Problem:
    """What a plan imagines, equal for everybody; by default 2000 particles in all.

    Attributes:
        hidden: width of a hidden layer (PETS: 200 half-cheetah, 500 cart-pole).
        layers: hidden layers (PETS: 4 and 3).
        members: networks.
        particles: per candidate.
        candidates: per iteration of the search.
        horizon: steps (PETS: 25 cart-pole).
        iterations: of CEM (PETS: 5).
        elites: of CEM (PETS: 40).
        observation_dim: entries of an observation.
        action_dim: entries of an action.
    """

    hidden: int = 200
    layers: int = 4
    members: int = 5
    particles: int = 5
    candidates: int = 400
    horizon: int = 25
    iterations: int = 5
    elites: int = 40
    observation_dim: int = 5
    action_dim: int = 1

    def __str__(self) -> str:
        """As in ``4x200, 400x25x5``: layers and width, candidates, horizon and particles."""
        size = f"{self.candidates}x{self.horizon}x{self.particles}"
        return f"{self.layers}x{self.hidden}, {size}"

    @property
    def spec(self) -> EnvSpec:
        """Sizes and limits of the task."""
        bound = np.ones(self.action_dim)
        return EnvSpec(self.observation_dim, -bound, bound, 0.02, None)

    def model(self, dtype: Any = "float32") -> ProbabilisticEnsemble:
        """An untrained ensemble: a trained one is no faster."""
        task = Task("Quadratic", "quadratic", reward=quadratic, terminated=never)
        config = EnsembleConfig(
            members=self.members,
            elites=self.members,
            hidden=self.hidden,
            layers=self.layers,
            particles=self.particles,
            inference_dtype=dtype,
        )
        return ProbabilisticEnsemble(task, self.spec, config, torch.Generator().manual_seed(0))

    def planner(self, search: str) -> MPC:
        """MPC in such a model by the optimizer of that name, with its paper's other settings."""
        spline = ActionSpline(self.horizon, self.spec.action_low, self.spec.action_high)
        cem = {"iterations": self.iterations, "num_elites": self.elites}
        config = OPTIMIZERS[search][0](
            num_samples=self.candidates, **(cem if search == "cem" else {})
        )
        return MPC(self.model(), make_optimizer(spline, config))


WIDTHS = (
    Problem(hidden=128, layers=2),
    Problem(hidden=200, layers=3),
    Problem(hidden=200, layers=4),
    Problem(hidden=256, layers=3),
    Problem(hidden=500, layers=3),
    Problem(candidates=100, particles=20),
)
TINY = Problem(hidden=16, layers=2, candidates=50, horizon=3)


def quadratic(obs: Any, action: Any, next_obs: Any) -> Any:
    """A reward that costs next to nothing to evaluate."""
    return -(next_obs**2).sum(-1)


# Timing.

Vector = npt.NDArray[np.float64]
Times = npt.NDArray[np.float64]
"""Seconds ``[rounds, 2]``: by the clock, and of the processor for this thread."""


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and of the processor that ``call`` takes."""
    clock, processor = time.perf_counter(), time.thread_time()
    call()
    return time.perf_counter() - clock, time.thread_time() - processor


def take_turns(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Times]:
    """Times of every call, one after the other and all over again."""
    for call in calls.values():
        call()
    times = [[timed(call) for call in calls.values()] for _ in range(rounds)]
    return dict(zip(calls, np.array(times).transpose(1, 0, 2), strict=True))


def typical(times: Times) -> float:
    """Processor seconds of an undisturbed call: the lower quartile."""
    return float(np.quantile(times[:, 1], 0.25))


def products(sizes: tuple[int, ...]) -> dict[str, Callable[[], Tensor]]:
    """Products of square matrices, by ``GEMM`` and their size."""
    rng = torch.Generator().manual_seed(0)
    squares = {size: torch.randn(3, size, size, generator=rng) for size in sizes}
    return {
        f"{GEMM} {size}": partial(torch.mm, a, b, out=out) for size, (a, b, out) in squares.items()
    }


def peak(times: Mapping[str, Times]) -> float:
    """The best FLOP/s of the matrix products among ``times``."""
    sizes = {name: int(name.split()[-1]) for name in times if name.startswith(GEMM)}
    return max(2 * size**3 / typical(times[name]) for name, size in sizes.items())


# The model alone.


def measure_rollouts(problem: Problem, rounds: int, sizes: tuple[int, ...]) -> list[Row]:
    """Imagined trajectories in both precisions, against the limit for matrix products."""
    rng = torch.Generator().manual_seed(0)
    shape = (problem.candidates, problem.horizon, problem.action_dim)
    actions = torch.rand(shape, generator=rng) * 2 - 1
    start = torch.zeros(problem.candidates, problem.observation_dim)
    model, rough = problem.model(), problem.model("bfloat16")
    calls = {
        "float32": lambda: model.rollout(start, actions, rng),
        "bfloat16": lambda: rough.rollout(start, actions, rng),
        **products(sizes),
    }
    times = take_turns(calls, rounds)
    case = f"rollout {problem}"
    steps = problem.candidates * problem.particles * problem.horizon
    weights = sum(weight[0].numel() for weight in model.network.weights)
    flops = 2 * weights * steps / typical(times["float32"])
    full, half = (steps / typical(times[dtype]) for dtype in ("float32", "bfloat16"))
    return [
        Row(case, "transitions_per_s", full, "1/s"),
        Row(case, "gflops", flops / 1e9, "GFLOP/s", GEMM, flops / peak(times)),
        Row(f"{case}, bfloat16", "transitions_per_s", half, "1/s", case, half / full),
    ]


# The planner around it.


class Recorder:
    """A Dynamics that remembers which trajectories it was asked for."""

    def __init__(self, dynamics: ProbabilisticEnsemble) -> None:
        """Ask ``dynamics``."""
        self.dynamics, self.observes, self.start = dynamics, dynamics.observes, dynamics.start
        self.step = dynamics.step
        self.asked: list[tuple[Tensor, Tensor]] = []

    def rollout(self, state: Tensor, actions: Tensor, rng: torch.Generator) -> Trajectories:
        """As ``dynamics`` does."""
        self.asked.append((state, actions))
        return self.dynamics.rollout(state, actions, rng)

    def again(self, rng: torch.Generator) -> None:
        """Nothing but the trajectories that were asked for."""
        for state, actions in self.asked:
            self.dynamics.rollout(state, actions, rng)


def measure_planner(case: str, planner: MPC, sensed: Vector, rounds: int) -> list[Row]:
    """Plans, each followed by nothing but the trajectories that it asked for."""
    model: Any = planner.dynamics
    recorder = Recorder(model)
    planner.dynamics = recorder

    def plan() -> None:
        """Plan once, and note what it asks for."""
        recorder.asked.clear()
        planner.act(sensed)

    times = take_turns({"plan": plan, ALONE: lambda: recorder.again(planner.rng)}, rounds)
    steps = model.config.particles * sum(len(a) * a.shape[1] for _, a in recorder.asked)
    seconds = typical(times["plan"])
    overhead = float(np.median(times["plan"][:, 1] / times[ALONE][:, 1]))
    return [
        *latency(case, times["plan"]),
        Row(case, "transitions_per_s", steps / seconds, "1/s"),
        Row(case, "plan_time", seconds, "s", ALONE, overhead),
    ]


def latency(case: str, times: Times) -> list[Row]:
    """Median and 99th percentile by the clock."""
    clock = times[:, 0]
    return [
        Row(case, f"plan_latency_p{q}", float(np.quantile(clock, q / 100)), "s") for q in (50, 99)
    ]


def measure_demo(rounds: int) -> list[Row]:
    """The planner that ``make demo`` ends with."""
    task = get_task(DEMO)
    with closing(make_env(task)) as env:
        spec = env_spec(env)
        sensed, _ = env.reset(seed=0)
    planner = PETS(task, spec, pets_preset(DEMO), seed=0).controller()
    return measure_planner(f"{DEMO}, demo settings", planner, sensed, rounds)


# Others.


STARTS = 3
"""How often a peer is started anew: where its memory happens to lie makes it faster or slower."""


def measure_peer(name: str, python: Path, problem: Problem, rounds: int) -> list[Row]:
    """Plans of ours and of a peer in turns, of the same size.

    Raises:
        PeerError: if the peer does not run.
    """
    turns = []
    for _ in range(STARTS):
        with PeerProcess(name, python, asdict(problem)) as peer:
            planner = problem.planner(peer.search)
            plan = partial(planner.act, np.zeros(problem.observation_dim))
            plan()
            turns += [(timed(plan), peer.plan()) for _ in range(rounds // STARTS)]
    ours, theirs = (np.array(times) for times in zip(*turns, strict=True))
    other, mine = f"{name} {peer.version} {peer.search}, {problem}", f"{peer.search}, {problem}"
    overhead = float(np.median(theirs[:, 1] / theirs[:, 2]))
    ratio = float(np.median(ours[:, 1] / theirs[:, 1]))
    return [
        *latency(other, theirs),
        Row(other, "plan_time", typical(theirs), "s", ALONE, overhead),
        Row(mine, "plan_time", typical(ours), "s", other, ratio),
    ]


def measure(options: Options) -> dict[str, Any]:
    """Everything, as a result for disk."""
    result = about("planning")
    rounds = 2 if options.quick else 12
    sizes = (64,) if options.quick else (512, 1024, 2048)
    problem = TINY if options.quick else Problem()
    rows: list[Row] = []
    for width in (TINY,) if options.quick else WIDTHS:
        rows += measure_rollouts(width, rounds, sizes)
    for name in OPTIMIZERS:
        planner = problem.planner(name)
        sensed = np.zeros(problem.observation_dim)
        rows += measure_planner(f"{name}, {problem}", planner, sensed, rounds)
    rows += measure_demo(10 * rounds)
    notes = []
    for name, python in options.peers.items():
        try:
            rows += measure_peer(name, python, problem, max(rounds, STARTS))
        except PeerError as failure:
            notes.append(str(failure))
    return {**result, "rows": [asdict(row) for row in rows], "notes": notes}


def tell(result: Mapping[str, Any], console: Console) -> None:
    """The rows for people."""
    for row in result["rows"]:
        text = f"{row['case']}: {row['metric']} {row['value']:.4g} {row['unit']}"
        beside = "" if row["ratio"] is None else f" = {row['ratio']:.2f} of {row['of']}"
        console.print(text + beside, soft_wrap=True)
    for note in result["notes"]:
        console.print(note, soft_wrap=True)


class Asked(Protocol):
    """Options of a benchmark that has one result."""

    @property
    def json(self) -> bool:
        """Whether programs are to be told, too."""
        ...

    @property
    def out(self) -> Path:
        """The result's path."""
        ...


Given = TypeVar("Given", bound=Asked)


def publish(result: Mapping[str, Any], out: Path, as_json: bool) -> None:
    """Write a result, and tell people of it, or programs by one line of JSON."""
    write_result(out, result)
    tell(result, Console(stderr=as_json))
    if as_json:
        print(json.dumps(result))


def measure_and_publish(
    kind: type[Given],
    measure: Callable[[Given], Mapping[str, Any]],
    description: str | None,
    argv: list[str] | None,
) -> None:
    """Understand a benchmark's words, its options of a ``kind``, measure on one thread, and tell.

    Args:
        kind: of the options, which say where the result goes (``out``) and whom to tell (``json``).
        measure: gives the result.
        description: what ``--help`` says.
        argv: the words; None for those of the command line.
    """
    options = tyro.cli(kind, description=description, args=argv)
    torch.set_num_threads(1)
    publish(measure(options), options.out, options.json)


def main(argv: list[str] | None = None) -> None:
    """Measure, write, tell."""
    measure_and_publish(Options, measure, __doc__, argv)


if __name__ == "__main__":
    main()
