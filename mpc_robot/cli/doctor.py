"""``mpc-robot doctor``: does everything work on this machine?"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mpc_robot.cli.common import Common, CommonOptions, Failed, Outcome
from mpc_robot.envs import TASKS, get_task, make_env
from mpc_robot.training.video import picture, renderable_env

LEAST_DISK_GB = 1.0
FRAMES = 50
OPTIONAL = {
    "rclpy": ("ros", "mpc-robot ros2, where no /opt/ros is sourced"),
    "cyclonedds": ("dds", "mpc-robot ros2 --transport dds"),
    "mcap": ("mcap", "mpc-robot ros2 --record"),
    "pyspiel": ("games", "games, such as tic_tac_toe"),
    "Box2D": ("box2d", "CarRacing-v3"),
    "viser": ("viz", "mpc-robot run --view"),
    "pytorch_mppi": ("bench", "benchmarks/planning.py"),
}
"""Module -> (the extra that installs it, what it is for)."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what was looked at.
        works: whether it works.
        detail: the version found, or what is wrong.
        required: whether anything depends on it for everybody.
    """

    name: str
    works: bool
    detail: str
    required: bool = True


@dataclass(frozen=True)
class Doctor:
    """Check this machine: Python, torch, MuJoCo, rendering, pixels, disk and optional extras."""

    common: Common = field(default_factory=CommonOptions)

    def __call__(self, console: Console) -> Outcome:
        """Print a table of checks; raises Failed if a required one does not work."""
        checks = [
            *(_check(name, look) for name, look in REQUIRED.items()),
            _check("rendering", _rendering, required=False),
            _check("pixels", _pixels, required=False),
            *(_optional(module) for module in OPTIONAL),
        ]
        table = Table("", "check", "found")
        for check in checks:
            mark = "[green]ok" if check.works else "[red]no" if check.required else "[yellow]-"
            table.add_row(mark, check.name, escape(check.detail))
        console.print(table)
        outcome: Outcome = {"checks": [asdict(check) for check in checks]}
        broken = [check.name for check in checks if check.required and not check.works]
        if broken:
            raise Failed(f"does not work here: {', '.join(broken)}", outcome)
        return outcome


def _check(name: str, look: Callable[[], str], required: bool = True) -> Check:
    """Look; whatever goes wrong is the finding."""
    try:
        return Check(name, True, look(), required)
    except Exception as error:  # a diagnosis must survive every disease
        return Check(name, False, f"{type(error).__name__}: {error}", required)


def _python() -> str:
    return f"{platform.python_version()} at {sys.executable}"


def _torch() -> str:
    blas = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    product = torch.ones(2, 2) @ torch.ones(2, 2)
    if not product.eq(2).all():
        raise ArithmeticError(f"a matrix product is wrong: {product.tolist()}")
    threads, name = torch.get_num_threads(), blas.group(1) if blas else "unknown"
    gpu = torch.accelerator.current_accelerator(check_available=True)
    devices = "cpu" if gpu is None else f"cpu and {gpu.type}"
    about = f"{threads} of {os.cpu_count()} threads, BLAS {name}, devices: {devices}"
    return f"{version('torch')}, {about}"


def _mujoco() -> str:
    """Step two simulations of a falling ball in a batch."""
    ball = "<mujoco><worldbody><body><freejoint/><geom size='1'/></body></worldbody></mujoco>"
    model = mujoco.MjModel.from_xml_string(ball)
    batch = Batch(model, 2, 1)
    batch.step()
    heights = np.array(batch.bind("qpos"))[:, 2]
    if not (heights < 0).all():
        raise ArithmeticError(f"two balls should fall, but are at {heights.tolist()} m")
    return f"{version('mujoco')}, simulates in batches"


def _rendering() -> str:
    with closing(renderable_env(next(iter(TASKS.values())))) as env:
        height, width, _ = picture(env).shape
        base: Any = env.unwrapped
        backend = type(base.mujoco_renderer.viewer.opengl_context).__module__
    return f"rendered {width} x {height} by {backend}"


def _pixels() -> str:
    """Let a task be seen as frames, for as long as tells how fast that is."""
    with closing(make_env(get_task("CartpoleBalance-v0+pixels"))) as env:
        frame, _ = env.reset(seed=0)
        if len(np.unique(frame)) < 2:
            raise ArithmeticError("frames are of one colour")
        started = time.perf_counter()
        for _ in range(FRAMES):
            env.step(np.zeros(1))
        rate = FRAMES / (time.perf_counter() - started)
    height, width, _ = frame.shape
    return f"{width} x {height} by {os.environ['MUJOCO_GL']}, {rate:.0f} frames/s"


def _gymnasium() -> str:
    return version("gymnasium")


def _disk() -> str:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    if free < LEAST_DISK_GB:
        raise OSError(f"{free:.1f} GB free in {Path.cwd()}, expected {LEAST_DISK_GB} GB or more")
    return f"{free:.1f} GB free in {Path.cwd()}"


def _optional(module: str) -> Check:
    extra, purpose = OPTIONAL[module]
    if importlib.util.find_spec(module) is None:
        hint = f"not installed, for {purpose}: pip install 'mpc-robot[{extra}]'"
        return Check(module, False, hint, required=False)
    try:
        found = version(module)
    except PackageNotFoundError:  # the package has another name than the module
        found = "installed"
    return Check(module, True, found, required=False)


REQUIRED: dict[str, Callable[[], str]] = {
    "python": _python,
    "torch": _torch,
    "mujoco": _mujoco,
    "gymnasium": _gymnasium,
    "disk": _disk,
}
