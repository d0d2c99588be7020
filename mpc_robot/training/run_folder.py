"""A run on disk: a folder that says by itself what was run and what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpc_robot.errors import CheckpointError, RunExistsError
from mpc_robot.training.files import replacing
from mpc_robot.training.metrics import MetricsLog

FORMAT = 1


@dataclass(frozen=True)
class RunFolder:
    """The files of a run.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """What was run; a folder holds a run if it has this file."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """One JSON object per line."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        """The folder to resume from."""
        return self.path / "checkpoint"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard events."""
        return self.path / "tensorboard"

    @property
    def learning_curve(self) -> Path:
        """Returns against env steps."""
        return self.path / "learning_curve.png"

    @property
    def video(self) -> Path:
        """One episode of the final controller."""
        return self.path / "video.mp4"

    @property
    def dream(self) -> Path:
        """What the world model imagines beside what was seen, of frames."""
        return self.path / "dream.mp4"

    @property
    def report(self) -> Path:
        """How far the model can be trusted."""
        return self.path / "report.md"

    def check_free(self) -> None:
        """Make sure that a run can be made here.

        Raises:
            RunExistsError: if the folder already holds a run, or what is left of one.
            NotADirectoryError: if there is something else than a folder.
        """
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"{self.path}: expected a folder, got a file")
        for file in (self.config, self.metrics):
            if file.exists():
                raise RunExistsError(
                    f"{self.path} already holds a run ({file.name}); choose another folder, "
                    f"or go on with it: mpc-robot train --resume {self.path}"
                )

    def create(self, config: Mapping[str, Any], save_first: Callable[[], None]) -> None:
        """Make the folder a run, checkpoint first, so that every run can be resumed.

        Args:
            config: becomes ``config.json``.
            save_first: saves the checkpoint of env step 0.

        Raises:
            RunExistsError: if the folder already holds a run; nothing in it was touched.
            OSError: if the folder can not be written.
        """
        self.check_free()
        save_first()
        self.write_config(config)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Replace ``config.json``, with the format it is in, as a whole."""
        with replacing(self.config) as draft:
            draft.write_text(json.dumps({"format": FORMAT, **config}, indent=2) + "\n")

    def read_config(self) -> dict[str, Any]:
        """The contents of ``config.json``.

        Raises:
            CheckpointError: if there is no run, or its config is damaged or of another format.
        """
        try:
            config = json.loads(self.config.read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise CheckpointError(f"no run in {self.path}: {self.config.name} is missing") from None
        except ValueError as error:
            raise CheckpointError(f"{self.config} is damaged: {error}") from error
        found = config.get("format") if isinstance(config, dict) else None
        if found != FORMAT:
            raise CheckpointError(f"{self.config}: expected format {FORMAT}, got {found}")
        return config  # type: ignore[no-any-return]

    def open_metrics(self, offset: int = 0, env_step: int = 0) -> MetricsLog:
        """The metrics log, going on behind what the checkpoint at ``env_step`` knows of."""
        return MetricsLog(self.metrics, self.tensorboard, offset, env_step)
