"""What every benchmark says of itself, and how its results come to disk."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mpc_robot.training.runs import versions

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Row:
    """One measured number, beside another one of the same run where there is one to compare with.

    Attributes:
        case: what was measured, such as ``cem 400x25``.
        metric: the quantity, such as ``plan_latency_p50``.
        value: the number.
        unit: its unit, such as ``s``; ``1`` for a plain ratio or count.
        of: the case that was measured beside it, or None.
        ratio: value as a multiple of the same metric of ``of``, or None.
    """

    case: str
    metric: str
    value: float
    unit: str
    of: str | None = None
    ratio: float | None = None


def about(benchmark: str) -> dict[str, Any]:
    """Under what circumstances a result came about: the first keys of every result."""
    return {
        "benchmark": benchmark,
        "versions": versions(),
        "hardware": hardware(),
        "commit": commit(),
    }


def hardware() -> dict[str, Any]:
    """The processor, how busy it is with other things, and how much they give way to this."""
    return {
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "niceness": os.nice(0),
    }


def commit() -> str | None:
    """The commit at hand, ``-dirty`` with changes of its own; None outside of git."""
    command = ("git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write one JSON object, whole or not at all; makes the folder.

    Raises:
        ValueError: if a number is NaN or infinite, which JSON does not know.
        OSError: if the file can not be written.
    """
    text = json.dumps(result, indent=1, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(text)
    draft.replace(path)


def _processor() -> str:
    """The processor's name for people, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
