"""``loop.json``: what a control loop has counted, on disk while it runs."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from types import TracebackType

from mpc_robot.runtime.loop import ControlLoop


class LoopReporter:
    """Writes a loop's status to a file every so often, and a last time at its end.

    The file is replaced as a whole: whenever anybody is killed, it is one of its versions.
    """

    def __init__(self, loop: ControlLoop, path: str | Path, every: float = 1.0) -> None:
        """Report to ``path`` every ``every`` s within a ``with`` block."""
        self._loop, self._path, self._every = loop, Path(path), every
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._report, daemon=True)

    def __enter__(self) -> LoopReporter:
        """Begin."""
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Report a last time."""
        self._ended.set()
        self._thread.join()
        self._write()

    def _report(self) -> None:
        """Until the end."""
        while not self._ended.wait(self._every):
            self._write()

    def _write(self) -> None:
        """Replace the file."""
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(self._loop.status().as_dict(), indent=2) + "\n")
        os.replace(new, self._path)
