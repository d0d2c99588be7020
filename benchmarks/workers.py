"""Many runs at once: each in a process of its own on this machine, or on a Ray cluster."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmarks.learning import Result, learn_one

from mpc_robot.errors import require
from mpc_robot.training.trainer import TrainConfig

Learn = Callable[[TrainConfig, Path], Result]
Run = tuple[TrainConfig, Path]
"""What to learn, and the folder to learn it in."""
Outcome = tuple[TrainConfig, Result | Exception]
"""What came of a run, in the order in which they end."""


def in_processes(
    runs: Sequence[Run], processes: int, learn: Learn = learn_one
) -> Iterator[Outcome]:
    """Learn on this machine, so many runs at a time; a run that fails or dies stops no other.

    Raises:
        ValueError: if ``processes`` is not positive.
    """
    require(processes > 0, "processes", "at least 1", processes)
    threads = ThreadPoolExecutor(processes)
    try:
        pending = {threads.submit(_apart, learn, *run): run[0] for run in runs}
        for done in as_completed(pending):
            yield pending[done], _outcome(done.result)
    finally:
        threads.shutdown(cancel_futures=True)


def on_ray(runs: Sequence[Run], address: str, learn: Learn = learn_one) -> Iterator[Outcome]:
    """Learn on the cores of a Ray cluster; what a lost worker or node was at begins again.

    Each node needs what this one has, at the same path. Runs go on where they were if the folders
    are on a disk that the nodes share, and begin again if not.

    Raises:
        ImportError: if Ray is not installed.
        ConnectionError: if there is no cluster at the address.
    """
    try:
        import ray  # noqa: PLC0415 - needs an extra
    except ImportError as error:
        raise ImportError(
            f"cluster: expected ray, got {error}; pip install 'mpc-robot[bench]'"
        ) from error
    ray.init(address, log_to_driver=False)
    try:
        remote = ray.remote(num_cpus=1, max_retries=-1)(_alone)
        pending = {remote.remote(learn, *run): run[0] for run in runs}
        while pending:
            (done, *_), _ = ray.wait(list(pending))
            yield pending.pop(done), _outcome(partial(ray.get, done))
    finally:
        ray.shutdown()


def _outcome(get: Callable[[], Any]) -> Result | Exception:
    """What ``get`` gives or raises."""
    try:
        return get()  # type: ignore[no-any-return]
    except Exception as error:
        return error


def _apart(learn: Learn, config: TrainConfig, path: Path) -> Result:
    """Learn in a process that ends with the run."""
    spawn = multiprocessing.get_context("spawn")  # a fork would share torch's threads
    with ProcessPoolExecutor(1, spawn) as process:
        return process.submit(_alone, learn, config, path).result()


def _alone(learn: Learn, config: TrainConfig, path: Path) -> Result:
    """Learn on one thread, since every core has a run of its own."""
    torch.set_num_threads(1)
    return learn(config, path)
