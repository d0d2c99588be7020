"""What a person sees while a learner trains."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mpc_robot.agents.base import Metrics


class Display:
    """A live progress bar on a terminal, one plain line per episode elsewhere."""

    def __init__(self, console: Console, steps: int) -> None:
        """Show the way to ``steps`` env steps on ``console``; a quiet console shows nothing."""
        self._console = console
        self._live = console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not self._live,
        )
        self._task = self._bar.add_task("training", total=steps)

    def step(self, env_step: int) -> None:
        """An env step was taken."""
        self._bar.update(self._task, completed=env_step)

    def episode(self, env_step: int, metrics: Metrics) -> None:
        """A training episode ended."""
        text = f"return {metrics['train/return']:.1f}"
        if self._live:
            self._bar.update(self._task, description=text)
        else:
            self._console.print(f"step {env_step}: {text}, length {metrics['train/length']:.0f}")

    def evaluation(self, env_step: int, metrics: Metrics) -> None:
        """The agent was evaluated."""
        mean, std = metrics["eval/return_mean"], metrics["eval/return_std"]
        self._console.print(f"step {env_step}: evaluation return {mean:.1f} ± {std:.1f}")

    def note(self, text: str) -> None:
        """Something worth knowing, on one line."""
        self._console.print(text, soft_wrap=True, highlight=False)

    def warn(self, text: str) -> None:
        """Something is missing, but training goes on."""
        self._console.print(f"warning: {text}", style="yellow", soft_wrap=True, highlight=False)

    def __enter__(self) -> Display:
        """Start the bar."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the bar."""
        self._bar.stop()
