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
from typing import Any, TypeVar

Run = TypeVar("Run", bound=tuple[Any, ...])
Learn = Callable[..., Any]
"""What to do for a run, given as the arguments; its result."""
RETRIES = 10
"""How often a run begins again on a cluster that loses what it runs on."""


def in_processes(
    learn: Learn, runs: Sequence[Run], processes: int
) -> Iterator[tuple[Run, Any | Exception]]:
    """Learn on this machine, so many runs at a time; a run that fails or dies stops no other.

    Yields:
        Each run with its result, or with the error that it ended in, in the order in which they
        end.

    Raises:
        ValueError: if ``processes`` is not positive.
    """
    if processes < 1:
        raise ValueError(f"processes: expected at least 1, got {processes}")
    threads = ThreadPoolExecutor(processes)
    try:
        pending = {threads.submit(_apart, learn, run): run for run in runs}
        for done in as_completed(pending):
            yield pending[done], _outcome(done.result)
    finally:
        threads.shutdown(cancel_futures=True)


def on_ray(
    learn: Learn, runs: Sequence[Run], address: str
) -> Iterator[tuple[Run, Any | Exception]]:
    """Learn on the cores of a Ray cluster; what a lost worker or node was at begins again.

    Each node needs what this one has, at the same path. Runs go on where they were if their folders
    are on a disk that the nodes share, and begin again if not.

    Args:
        learn: what a node shall do for a run.
        runs: its arguments.
        address: HOST:PORT of the cluster.

    Yields:
        As :func:`in_processes`.

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
        remote = ray.remote(num_cpus=1, max_retries=RETRIES)(learn)
        pending = {remote.remote(*run): run for run in runs}
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


def _outcome(get: Callable[[], Any]) -> Any | Exception:
    """What ``get`` gives or raises."""
    try:
        return get()
    except Exception as error:
        return error


def _apart(learn: Learn, run: Run) -> Any:
    """Learn in a process that ends with the run, or with this process."""
    spawn = multiprocessing.get_context("spawn")  # a fork would share torch's threads
    with ProcessPoolExecutor(1, spawn, _end_with, (os.getpid(),)) as process:
        return process.submit(learn, *run).result()


def _end_with(parent: int) -> None:
    """End this process as soon as the one that started it has ended."""

    def watch() -> None:
        """Forever, in a thread of its own."""
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
