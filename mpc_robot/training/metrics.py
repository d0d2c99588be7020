"""Metrics of a run: one JSON object per line, mirrored to TensorBoard, exact across a resume."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from mpc_robot.agents.base import Metrics
from mpc_robot.errors import CheckpointError

TIME = "time/"
"""Keys under it are of the wall clock; all others come out the same bits in every run."""


class MetricsLog:
    """Appends to ``metrics.jsonl``; what came after the last checkpoint goes when it is resumed."""

    def __init__(self, path: Path, tensorboard: Path, offset: int, env_step: int) -> None:
        """Go on behind the first ``offset`` bytes of ``path``, written up to ``env_step``.

        Raises:
            CheckpointError: if the file is shorter than that; nothing was changed then.
        """
        size = path.stat().st_size if path.exists() else 0
        if size < offset:
            raise CheckpointError(f"{path} is truncated: expected {offset} bytes, got {size}")
        self._file = path.open("ab")
        self._file.truncate(offset)
        self._mirror = SummaryWriter(str(tensorboard), purge_step=env_step + 1)

    def log(self, env_step: int, metrics: Metrics) -> None:
        """Append one line; NaN and infinities become null, for JSON has no word for them."""
        finite = {key: v if math.isfinite(v) else None for key, v in metrics.items()}
        line = json.dumps({"env_step": env_step, **finite}, allow_nan=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        for key, value in metrics.items():
            self._mirror.add_scalar(key, value, env_step)

    def sync(self) -> int:
        """Make every line durable; the offset to resume from."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def __enter__(self) -> MetricsLog:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close both files."""
        self._file.close()
        self._mirror.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``metrics.jsonl``; a last line that is not whole is left out."""
    lines = path.read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines]
