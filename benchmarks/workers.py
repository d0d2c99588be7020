"""Many runs at once: each in a process of its own on this machine, or on a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
import time
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
RETRIES = 10
"""How often a run begins again on a cluster that loses what it runs on."""


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

    Args:
        runs: what to learn, and where.
        address: HOST:PORT of the cluster.
        learn: what each node shall do for a run.

    Raises:
        ImportError: if Ray is not installed.
        ConnectionError: if nothing answers at the address.
    """
    try:
        import ray  # noqa: PLC0415 - needs an extra
    except ImportError as error:
        raise ImportError(
            f"cluster: expected ray, got {error}; pip install 'mpc-robot[bench]'"
        ) from error
    _check_reachable(address)
    ray.init(address, log_to_driver=False)
    try:
        remote = ray.remote(num_cpus=1, max_retries=RETRIES)(_alone)
        pending = {remote.remote(learn, *run): run[0] for run in runs}
        while pending:
            (done, *_), _ = ray.wait(list(pending))
            yield pending.pop(done), _outcome(partial(ray.get, done))
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Say at once what Ray would say after minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10.0).close()
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"ray: expected HOST:PORT of a Ray cluster, got {address!r} ({error})"
        ) from error


def _outcome(get: Callable[[], Any]) -> Result | Exception:
    """What ``get`` gives or raises."""
    try:
        return get()  # type: ignore[no-any-return]
    except Exception as error:
        return error


def _apart(learn: Learn, config: TrainConfig, path: Path) -> Result:
    """Learn in a process that ends with the run, or with this process."""
    spawn = multiprocessing.get_context("spawn")  # a fork would share torch's threads
    with ProcessPoolExecutor(1, spawn, _end_with, (os.getpid(),)) as process:
        return process.submit(_alone, learn, config, path).result()


def _end_with(parent: int) -> None:
    """End this process as soon as the one that started it has ended."""

    def watch() -> None:
        """Forever, in a thread of its own."""
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _alone(learn: Learn, config: TrainConfig, path: Path) -> Result:
    """Learn on one thread, since every core has a run of its own."""
    torch.set_num_threads(1)
    return learn(config, path)
