"""What the subcommands share."""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from typing import Annotated, Any, Protocol, TypeVar

import tyro
from rich.console import Console
from rich.table import Table

from mpc_robot.agents import PETSConfig
from mpc_robot.controllers import OPTIMIZERS
from mpc_robot.controllers.simulator_planner import PlannerConfig
from mpc_robot.errors import UnknownNameError
from mpc_robot.training.evaluation import Evaluation

Planning = TypeVar("Planning", PETSConfig, PlannerConfig)

Outcome = dict[str, Any]
"""What ``--json`` prints: the result of a subcommand as JSON values."""


class Failed(RuntimeError):  # noqa: N818 - an outcome, not a mistake
    """The subcommand ran and what it found is bad; the outcome was printed all the same."""

    def __init__(self, message: str, outcome: Outcome) -> None:
        """Args: what to tell people, and what to tell programs."""
        super().__init__(message)
        self.outcome = outcome


@dataclass(frozen=True)
class CommonOptions:
    """Options of every subcommand.

    Attributes:
        json: print one JSON object as the last line of stdout; words for people go to stderr.
        threads: of torch and of the simulator; with more than one, small networks are often slower.
    """

    json: bool = False
    threads: int = 1

    def __post_init__(self) -> None:
        """Raises ValueError if there is no thread."""
        if self.threads < 1:
            raise ValueError(f"threads: expected at least 1, got {self.threads}")


Common = Annotated[CommonOptions, tyro.conf.arg(name="")]
"""The options without a prefix: ``--json``, not ``--common.json``."""


class Command(Protocol):
    """A subcommand with its options: calling it does the thing."""

    @property
    def common(self) -> CommonOptions:
        """The options of every subcommand."""
        ...

    def __call__(self, console: Console) -> Outcome:
        """Do it, telling people about it on ``console``."""
        ...


def parse(name: str, kind: Any, argv: Sequence[str], default: Any = None) -> Command:
    """Understand the words behind a subcommand; prints help and exits if that is what they ask for.

    Args:
        name: of the subcommand.
        kind: the dataclass of its options.
        argv: the words.
        default: options that are not given.

    Raises:
        ValueError: if an option is not known or missing, or its value makes no sense.
    """
    with redirect_stderr(io.StringIO()) as complaint:
        try:
            command: Command = tyro.cli(
                kind,
                args=list(argv),
                default=default,
                prog=f"mpc-robot {name}",
                config=(tyro.conf.AvoidSubcommands,),
            )
        except SystemExit as stop:
            if not stop.code:
                raise
            raise ValueError(_in_one_line(complaint.getvalue())) from None
    return command


def _in_one_line(box: str) -> str:
    """What tyro has drawn a box around, without the title and the pointer to the help."""
    paragraphs = re.split(r"[─-]{4,}", re.sub(r"\x1b\[[\d;]*m|[│╭╮╰╯]", " ", box))
    text = "; ".join([" ".join(p.split()) for p in paragraphs if p.strip()][1:-1])
    return re.sub(r"^Error parsing (\w\S*: )?", "", text)


def peek(argv: Sequence[str], option: str) -> str | None:
    """The value of an option, before the whole command line can be understood."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(option, dest="value")
    try:
        return parser.parse_known_args(argv)[0].value  # type: ignore[no-any-return]
    except argparse.ArgumentError:  # an option without its value; the real parser will say so
        return None


def with_optimizer(config: Planning, name: str) -> Planning:
    """A config with the optimizer of that name; its own settings stay if it has it already.

    Raises:
        UnknownNameError: if there is no such optimizer.
    """
    if name not in OPTIMIZERS:
        raise UnknownNameError("optimizer", name, OPTIMIZERS)
    kind, _ = OPTIMIZERS[name]
    return config if isinstance(config.optimizer, kind) else replace(config, optimizer=kind())


def evaluation_outcome(evaluation: Evaluation) -> Outcome:
    """An evaluation for programs."""
    return {
        "returns": evaluation.returns.tolist(),
        "lengths": evaluation.lengths.tolist(),
        "terminated": evaluation.terminated.tolist(),
        "return_mean": evaluation.mean,
        "return_std": evaluation.std,
        "wall_s": evaluation.wall_s,
    }


def evaluation_table(evaluation: Evaluation, title: str) -> Table:
    """An evaluation for people."""
    table = Table(title=title)
    for column in ("episode", "return", "steps", "ended by"):
        table.add_column(column, justify="right")
    for i, episode in enumerate(evaluation.episodes):
        end = "termination" if episode.terminated else "truncation"
        table.add_row(str(i), f"{episode.total:.2f}", str(len(episode.rewards)), end)
    table.caption = (
        f"return {evaluation.mean:.2f} ± {evaluation.std:.2f}; "
        f"{evaluation.lengths.sum()} steps in {evaluation.wall_s:.1f} s, set-up and film included"
    )
    return table
