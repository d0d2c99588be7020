"""Peers run in interpreters of their own, and plan when they are told to."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

FOLDER = Path(__file__).parent
WORKERS = {
    "judo": FOLDER / "plan_judo.py",
    "mbrl-lib": FOLDER / "plan_mbrl_lib.py",
    "mctx": FOLDER / "search_mctx.py",
    "pytorch-mppi": FOLDER / "plan_pytorch_mppi.py",
}
"""Name of a peer -> the script that plans with it; it needs nothing but the peer."""


class PeerError(RuntimeError):
    """A peer is not installed for that interpreter, or broke down."""


class PeerProcess:
    """A worker script that plans once for every line it is sent.

    Attributes:
        hello: what it says of itself.
        version: of the peer.
        search: the optimizer of ours that does the same.
    """

    def __init__(self, name: str, python: Path, problem: Mapping[str, Any]) -> None:
        """Start it with the sizes of a ``Problem``, and let it plan once to warm up.

        Raises:
            PeerError: if the peer is not known, or does not start.
        """
        if name not in WORKERS:
            raise PeerError(f"{name}: expected one of {sorted(WORKERS)}")
        self.name = name
        try:
            self.process = subprocess.Popen(
                [str(python), str(WORKERS[name]), json.dumps(dict(problem))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        except OSError as error:
            raise PeerError(f"{name}: {error}") from error
        self.hello = self._read()
        self.version, self.search = self.hello["version"], self.hello["search"]
        self.plan()

    def __enter__(self) -> PeerProcess:
        """Ready to plan."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """End the worker."""
        self.process.communicate()

    def plan(self) -> tuple[float, float, float]:
        """Seconds of one plan by the clock and of the processor, and of its rollouts alone.

        Raises:
            PeerError: if the worker broke down.
        """
        answer = self.ask({"plan": None})
        return answer["clock"], answer["processor"], answer["rollouts"]

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request, where the worker knows others than to plan.

        Raises:
            PeerError: if the worker broke down.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(dict(request)) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # reading says why
        return self._read()

    def _read(self) -> dict[str, Any]:
        """The next line it prints."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)  # type: ignore[no-any-return]
        _, words = self.process.communicate()
        last = words.strip().splitlines()[-1:] or ["ended without a word"]
        raise PeerError(f"{self.name}: {last[0]}")
