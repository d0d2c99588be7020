"""Runs are spread over processes and clusters, and none is lost with what it ran on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import pytest
from benchmarks import workers

ROOT = Path(__file__).parents[2]
NODE = {"num_cpus": 1, "include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
DRIVER = """
import json, sys, time
from pathlib import Path
import ray
from benchmarks import workers

def learn(seed, path):
    node = ray.get_runtime_context().get_node_id()
    (path.parent / f"{path.name}.began-{node}").touch()
    while not (path.parent / "go").exists():
        time.sleep(0.02)
    if seed == 2:
        raise ValueError("no such seed")
    from benchmarks.learning import learn_alone
    from mpc_robot.training.trainer import TrainConfig
    return learn_alone(TrainConfig("pets", "InvertedPendulum-v5", seed, 64, 32, 1), path)

address, folder = sys.argv[1], Path(sys.argv[2])
runs = [(seed, folder / str(seed)) for seed in range(3)]
with (folder / "outcomes").open("w") as file:
    for (seed, _), outcome in workers.on_ray(learn, runs, address):
        failed = isinstance(outcome, ValueError)
        line = [seed, "failed" if failed else outcome["env_steps"][:2]]
        print(json.dumps(line), file=file, flush=True)
"""


def survives(seed: int) -> int:
    """Its process, unless the seed says to die."""
    if seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def test_a_run_that_dies_stops_no_other() -> None:
    outcomes = dict(workers.in_processes(survives, [(1,), (0,)], 1))
    assert isinstance(outcomes[1,], BrokenProcessPool)
    assert outcomes[0,] not in (None, os.getpid())


def stays(folder: Path) -> None:
    """Tells its process, and does not come back."""
    (folder / f"began-{os.getpid()}").touch()
    time.sleep(300.0)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_run_ends_when_what_started_it_is_killed(
    tmp_path: Path, in_child: Callable[[Callable[[], None]], int]
) -> None:
    def start() -> None:
        learn = partial(list, workers.in_processes(stays, [(tmp_path,)], 1))
        threading.Thread(target=learn).start()
        wait_for(tmp_path, "began-*", 1)
        os.kill(os.getpid(), signal.SIGKILL)

    assert os.waitstatus_to_exitcode(in_child(start)) == -signal.SIGKILL
    (name,) = wait_for(tmp_path, "began-*", 1)
    deadline = time.monotonic() + 30.0
    while is_running(int(name.partition("-")[2])):
        assert time.monotonic() < deadline, "the run goes on"
        time.sleep(0.05)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "auto"])
def test_an_address_where_nothing_answers_is_told_at_once(address: str) -> None:
    with pytest.raises(
        ConnectionError, match=f"expected HOST:PORT of a Ray cluster, got '{address}'"
    ):
        list(workers.on_ray(survives, [], address))


def test_no_processes_can_not_learn() -> None:
    with pytest.raises(ValueError, match="processes: expected at least 1, got 0"):
        list(workers.in_processes(survives, [], 0))


def wait_for(folder: Path, pattern: str, count: int) -> list[str]:
    deadline = time.monotonic() + 120.0
    while len(found := sorted(path.name for path in folder.glob(pattern))) < count:
        assert time.monotonic() < deadline, f"{count} x {pattern} did not come, only {found}"
        time.sleep(0.05)
    return found


@pytest.fixture
def handlers() -> Iterator[None]:
    """Ray takes signals over for good; give them back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_a_cluster_that_loses_a_node_still_brings_every_result(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster  # runs that are spawned need not import it

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        command = [sys.executable, "-c", DRIVER, cluster.address, str(tmp_path)]
        driver = subprocess.Popen(command, cwd=ROOT)
        wait_for(tmp_path, "*.began-*", 1)  # so that the driver is not on the node to be lost
        lost = cluster.add_node(**NODE)
        began = wait_for(tmp_path, "*.began-*", 2)
        assert len({name.partition("began-")[2] for name in began}) == 2, "one run on each node"
        cluster.remove_node(lost, allow_graceful=False)
        (tmp_path / "go").touch()
        assert driver.wait(timeout=120.0) == 0
        outcomes = sorted(json.loads(line) for line in (tmp_path / "outcomes").open())
        assert outcomes == [[0, [32, 64]], [1, [32, 64]], [2, "failed"]]
        assert len(wait_for(tmp_path, "*.began-*", 4)) == 4, "the lost run began once more"
    finally:
        cluster.shutdown()
