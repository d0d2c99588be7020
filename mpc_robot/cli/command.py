"""``mpc-robot``: understand the words, do the thing, say what came of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import torch
from rich.console import Console

import mpc_robot
from mpc_robot.cli.common import Command, Failed, Outcome, parse
from mpc_robot.cli.doctor import Doctor
from mpc_robot.cli.dream import Dream
from mpc_robot.cli.eval import Eval
from mpc_robot.cli.play import Play
from mpc_robot.cli.ros2 import Ros2, Ros2Sim, parse_ros2, parse_ros2_sim
from mpc_robot.cli.run import Run, parse_run
from mpc_robot.cli.tasks import Tasks
from mpc_robot.cli.train import Train, parse_train
from mpc_robot.errors import (
    CheckpointError,
    PlantError,
    RenderingUnavailable,
    UnknownNameError,
)

GOOD, FAILED, WRONG_WORDS = 0, 1, 2
"""Exit codes."""

EXPECTED = (
    Failed,
    ValueError,
    ImportError,
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
    "dream": (Dream, lambda words: parse("dream", Dream, words)),
    "play": (Play, lambda words: parse("play", Play, words)),
    "run": (Run, parse_run),
    "ros2": (Ros2, parse_ros2),
    "ros2-sim": (Ros2Sim, parse_ros2_sim),
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
    except SystemExit:  # what was asked for has been printed, such as help
        return GOOD
    except ValueError as error:
        return _complain(error, WRONG_WORDS, as_json)
    except EXPECTED as error:
        return _complain(error, FAILED, as_json)
    torch.set_num_threads(command.common.threads)
    try:
        outcome = command(Console(stderr=as_json))
    except EXPECTED as error:
        code = WRONG_WORDS if isinstance(error, UnknownNameError) else FAILED
        return _complain(error, code, as_json)
    if as_json:
        print(_as_json(outcome))
    return GOOD


def _parse(argv: Sequence[str]) -> Command:
    """The subcommand that ``argv`` asks for."""
    name = argv[0] if argv else "--help"
    if name in COMMANDS:
        return COMMANDS[name][1](argv[1:])
    if name == "--version":
        print(f"mpc-robot {mpc_robot.__version__}")
        raise SystemExit
    if name in ("-h", "--help"):
        print(_overview())
        raise SystemExit
    raise UnknownNameError("subcommand", name, COMMANDS)


def _overview() -> str:
    """The subcommands, and what the first line of their documentation says."""
    about = {name: str(kind.__doc__).split("\n")[0] for name, (kind, _) in COMMANDS.items()}
    return "\n".join(
        [
            f"usage: mpc-robot [-h] [--version] {{{','.join(COMMANDS)}}} ...\n",
            "Model predictive control and model-based reinforcement learning for robots.\n",
            *(f"  {name:10}{line}" for name, line in about.items()),
            "\nEach subcommand lists its options with --help.",
        ]
    )


def _complain(error: BaseException, code: int, as_json: bool) -> int:
    """Say in one line what is wrong, and give the exit code back."""
    message = str(error) or "interrupted"
    print(f"error: {message}", file=sys.stderr)
    if as_json:
        found: Outcome = error.outcome if isinstance(error, Failed) else {}
        print(_as_json({"error": message, "exit_code": code, **found}))
    return code


def _as_json(outcome: Outcome) -> str:
    """One line of JSON; NaN and infinities become null, for JSON has no word for them."""
    return json.dumps(json.loads(json.dumps(outcome), parse_constant=lambda constant: None))
