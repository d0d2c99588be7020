"""``mpc-robot tasks``: what there is to control."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from mpc_robot.cli.common import Common, CommonOptions, Outcome
from mpc_robot.envs import TASKS, Task, env_spec, make_env


@dataclass(frozen=True)
class Tasks:
    """List the tasks; other Gymnasium ids work too.

    They may be module:Id, of continuous or numbered actions, end in +pixels, +stack3 or +repeat2,
    or be a game of OpenSpiel such as tic_tac_toe; what an agent does not take, it says.
    """

    common: Common = field(default_factory=CommonOptions)

    def __call__(self, console: Console) -> Outcome:
        """Print a table of the tasks, their sizes, and what a planner knows of them."""
        rows = [_describe(task) for task in TASKS.values()]
        table = Table("task", "D", "A", "dt, s", "steps", "description")
        table.caption = "D observation entries, A action entries, dt control period"
        table.columns[0].no_wrap = True
        for row in rows:
            sizes = [str(row[key]) for key in ("observation_dim", "action_dim")]
            limit = str(row["max_episode_steps"] or "no limit")
            table.add_row(row["name"], *sizes, f"{row['dt']:g}", limit, row["description"])
        console.print(table)
        return {"tasks": rows}


def _describe(task: Task) -> Outcome:
    with closing(make_env(task)) as env:
        spec = env_spec(env)
    return {
        "name": task.name,
        "description": task.description,
        "observation_dim": spec.observation_dim,
        "action_dim": spec.action_dim,
        "dt": spec.dt,
        "max_episode_steps": spec.max_episode_steps,
        "known": [part for part in ("reward", "terminated", "observe") if getattr(task, part)],
    }
