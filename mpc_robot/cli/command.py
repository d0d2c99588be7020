"""``mpc-robot``: understand the words, do the thing, say what came of it."""

from __future__ import annotations

import functools
import json
import operator
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import gymnasium as gym
import torch
import tyro
from rich.console import Console

import mpc_robot
from mpc_robot.cli.common import Command, Failed, Outcome, parse
from mpc_robot.cli.doctor import Doctor
from mpc_robot.cli.eval import Eval
from mpc_robot.cli.run import Run, parse_run
from mpc_robot.cli.tasks import Tasks
from mpc_robot.cli.train import Train, parse_train
from mpc_robot.errors import CheckpointError, PlantError, UnknownNameError
from mpc_robot.training.video import RenderingUnavailable

GOOD, FAILED, WRONG_WORDS = 0, 1, 2
"""Exit codes."""

EXPECTED = (
    Failed,
    ValueError,
    OSError,
    CheckpointError,
    PlantError,
    RenderingUnavailable,
    KeyboardInterrupt,
    gym.error.Error,
)
"""What may go wrong without a bug of ours: one line says it, without a traceback."""

COMMANDS: dict[str, tuple[type[Any], Callable[[Sequence[str]], Command]]] = {
    "tasks": (Tasks, lambda words: parse("tasks", Tasks, words)),
    "train": (Train, parse_train),
    "eval": (Eval, lambda words: parse("eval", Eval, words)),
    "run": (Run, parse_run),
    "doctor": (Doctor, lambda words: parse("doctor", Doctor, words)),
}
"""Subcommand -> (its options, what understands the words behind it)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 0 (good), 1 (it failed) or 2 (the words were wrong)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    sys.path.append("")  # the module of --task module:Id may lie in the current folder
    as_json = "--json" in argv
    try:
        command = _parse(argv)
    except SystemExit as stop:  # tyro has printed help, or what it did not understand
        return (
            _complain("these words were not understood", WRONG_WORDS, as_json)
            if stop.code
            else GOOD
        )
    except ValueError as error:
        return _complain(error, WRONG_WORDS, as_json)
    torch.set_num_threads(command.common.threads)
    try:
        outcome = command(Console(stderr=as_json))
    except EXPECTED as error:
        code = WRONG_WORDS if isinstance(error, UnknownNameError) else FAILED
        return _complain(error, code, as_json)
    if as_json:
        print(json.dumps(outcome))
    return GOOD


def _parse(argv: Sequence[str]) -> Command:
    """The subcommand that ``argv`` asks for."""
    name = argv[0] if argv else "--help"
    if name in COMMANDS:
        return COMMANDS[name][1](argv[1:])
    if name.startswith("-"):
        _print_overview()
    raise UnknownNameError("subcommand", name, COMMANDS)


def _print_overview() -> None:
    """List the subcommands and exit."""
    kinds = [Annotated[kind, tyro.conf.subcommand(name)] for name, (kind, _) in COMMANDS.items()]
    overview: Any = functools.reduce(operator.or_, kinds)
    tyro.cli(overview, args=["--help"], prog="mpc-robot", description=mpc_robot.__doc__)


def _complain(error: BaseException | str, code: int, as_json: bool) -> int:
    """Say in one line what is wrong, and give the exit code back."""
    message = str(error) or "interrupted"
    print(f"error: {message}", file=sys.stderr)
    if as_json:
        found: Outcome = error.outcome if isinstance(error, Failed) else {}
        print(json.dumps({"error": message, "exit_code": code, **found}))
    return code
