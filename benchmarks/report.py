"""Make the tables and plots of README and docs from ``benchmarks/results``; ``--check`` compares.

Tables stand between ``<!-- results: NAME -->`` and ``<!-- end -->`` and are written anew. A plot
carries the digest of the results that it was drawn from, which is what ``--check`` looks at.
"""

from __future__ import annotations

import hashlib
import json
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import tyro
from benchmarks import dyna_q, goals, learning_curves
from benchmarks.common import RESULTS, ROOT
from matplotlib.figure import Figure
from PIL import Image

Result = dict[str, Any]
DIGEST = "Results-SHA256"
DOCS = ("control_loop", "imagination", "learning", "planning", "ros2", "search")
PAGES = (ROOT / "README.md", *(ROOT / "docs" / f"{page}.md" for page in DOCS))
PLOTS = ROOT / "docs" / "results"
PETS, MUZERO = ("pets",), ("muzero",)
DREAMERS = ("dreamer", "dreamer-v2", "dreamer-v1", "world-models")


def load(benchmark: str) -> list[Result]:
    """All results of one benchmark, by file name."""
    return [json.loads(path.read_text()) for path in sorted((RESULTS / benchmark).glob("*.json"))]


# Planning -----------------------------------------------------------------------------------------


def planning_table() -> str:
    """Whatever was measured beside another thing, and how long the demo's plans take."""
    rows = [row for result in load("planning") for row in result["rows"]]
    shown = [row for row in rows if row["ratio"] is not None or "demo" in row["case"]]
    return _beside(shown, "beside")


def _planning_row(row: Result) -> str:
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
    metric = row["metric"].replace("_", " ")
    return f"| {row['case']} | {metric} | {_value(row)} | {row['of'] or ''} | {ratio} |"


def _value(row: Result) -> str:
    units = {"s": (1e3, " ms"), "1": (1.0, "")}
    scale, unit = units.get(row["unit"], (1.0, f" {row['unit']}"))
    return f"{scale * row['value']:.4g}{unit}"


# Simulator ----------------------------------------------------------------------------------------


def simulator_table() -> str:
    """Return of every case over its seeds, beside what was asked, and how long a plan takes."""
    rows = [
        "| case | asked | return, worst seed | median | best | episodes that fell "
        "| a plan takes, p50 | control period | real-time factor |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    played: dict[str, list[Result]] = {}
    for result in load("simulator_mpc"):
        if result.get("case", "").startswith("play-"):
            name = result["case"].removeprefix("play-").rpartition("-seed-")[0]
            played.setdefault(name, []).append(result)
    return "\n".join(rows + [_played_row(name, results) for name, results in played.items()])


def _played_row(name: str, results: Sequence[Result]) -> str:
    returns = sorted(result["return_mean"] for result in results)
    fallen, episodes = (
        sum(count(result["terminated"]) for result in results) for count in (sum, len)
    )
    asked = results[0]["asked"]
    cells = [
        name,
        "" if asked is None else f"{asked:,.5g}",
        f"**{returns[0]:,.5g}** of {len(results)}",
        f"{statistics.median(returns):,.5g}",
        f"{returns[-1]:,.5g}",
        f"{fallen} of {episodes}",
        f"{1e3 * _median(results, 'plan_latency_p50_s'):.3g} ms",
        f"{1e3 * results[0]['control_period_s'] * results[0]['replan_every']:.3g} ms",
        f"{_median(results, 'real_time_factor'):.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def _median(results: Sequence[Result], key: str) -> float:
    return statistics.median(result[key] for result in results)


def optimizers_table() -> str:
    """Return of the first steps by optimizer and task."""
    found = {
        tuple(result["case"].removeprefix("compare-").split("-", 2)): result
        for result in load("simulator_mpc")
        if result.get("case", "").startswith("compare-")
    }
    tasks = sorted({f"{name}-{version}" for name, version, _ in found})
    names = sorted({optimizer for _, _, optimizer in found})
    lines = [f"| task | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for task in tasks:
        cells = [_compared(found.get((*task.split("-"), name))) for name in names]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _compared(result: Result | None) -> str:
    if result is None:
        return ""
    fell = ", falls" if result["terminated"][0] else ""
    return f"{result['return_mean']:,.4g}{fell} ({1e3 * result['plan_latency_p50_s']:.3g} ms)"


def simulator_speed_table() -> str:
    """Physics steps per second of whole plans, and their share of the limit."""
    lines = ["| plan | physics steps/s | share of `Batch.rollout` |", "|---|---|---|"]
    for row in _rows("simulator_mpc", "speed"):
        if row["ratio"] is not None:
            lines.append(f"| {row['case']} | {row['value']:,.4g} | {row['ratio']:.2f} |")
    return "\n".join(lines)


def judo_table() -> str:
    """Plan time and return as multiples of Judo's."""
    lines = ["| ours | metric | value | Judo | ratio |", "|---|---|---|---|---|"]
    for row in _rows("simulator_mpc", "judo"):
        if row["ratio"] is not None and "judo" in (row["of"] or "") and "judo" not in row["case"]:
            lines.append(_planning_row(row))
    return "\n".join(lines)


# Control loop -------------------------------------------------------------------------------------


AGES = ("state_age_p50", "state_age_p99", "plan_age_p50", "plan_age_p99")
PERIOD = ("jitter_p50", "jitter_p99", *AGES, "missed_deadlines")
FAULTS = (
    "spells",
    "spells_tripped",
    "time_to_safe_action_max",
    "spells_not_recovered",
    "time_to_recover_max",
    "commands",
    "commands_outside_limits",
    "crashes",
)
ECHO = ("answered", "round_trip_p50", "round_trip_p99")


def rows_table(benchmark: str, name: str, of: str) -> str:
    """All rows of a measurement; ``of`` heads the column of what was measured beside."""
    return _beside(_rows(benchmark, name), of)


def _beside(rows: Sequence[Result], of: str) -> str:
    head = [f"| case | metric | value | {of} | ratio |", "|---|---|---|---|---|"]
    return "\n".join([*head, *map(_planning_row, rows)]) if rows else ""


def cases_table(name: str, metrics: Sequence[str], but: tuple[str, ...] = ()) -> str:
    """A line per case of a measurement of the loop, except those whose names begin with ``but``."""
    cases: dict[str, dict[str, Result]] = {}
    for row in _rows("control_loop", name):
        if not row["case"].startswith(but):
            cases.setdefault(row["case"], {})[row["metric"]] = row
    known = [metric for metric in metrics if any(metric in case for case in cases.values())]
    lines = [f"| case | {' | '.join(metric.replace('_', ' ') for metric in known)} |"]
    lines.append("|---" * (len(known) + 1) + "|")
    for case, found in cases.items():
        lines.append(f"| {' | '.join([case, *(_cell(found.get(metric)) for metric in known)])} |")
    return "\n".join(lines) if cases else ""


def _cell(row: Result | None) -> str:
    """A value, and in brackets what multiple it is of what was measured beside."""
    if row is None:
        return ""
    ratio = "" if row["ratio"] is None else f" ({row['ratio']:.2f})"
    return _value(row) + ratio


def _rows(benchmark: str, name: str) -> list[Result]:
    """The rows of one result, none if it has not been measured."""
    path = RESULTS / benchmark / f"{name}.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


# Learning -----------------------------------------------------------------------------------------


def learning(table: Callable[[Sequence[Result]], str]) -> str:
    """A table of all learning runs."""
    return table(load("sample_efficiency"))


def learning_plot(draw: Callable[[Sequence[Result]], Figure]) -> Figure:
    """A plot of all learning runs."""
    return draw(load("sample_efficiency"))


def plan_or_policy_table(agents: tuple[str, ...]) -> str:
    """What agents' policies return, and plans in the models that they were trained in."""
    found = [result for result in load("plan_or_policy") if result["agent"] in agents]
    head = ("task", "seed", "env steps", "policy", "plan", "env step by policy", "env step by plan")
    return learning_curves.table(head, map(_plan_row, found))


def _plan_row(result: Result) -> list[str]:
    policy, policy_time, plan, plan_time = map(_value, result["rows"])
    named = [result["task"], str(result["seed"]), f"{result['env_step']:,}"]
    return [*named, policy, plan, policy_time, plan_time]


# Games --------------------------------------------------------------------------------------------


def games_table() -> str:
    """What was learned of each game: a match, what was asked of it, and how long training took."""
    lines = [_game_row(result) for result in load("games")]
    head = "| game | opponent | result | asked | training time |"
    return "\n".join([head, "|---|---|---|---|---|", *lines]) if lines else ""


def _game_row(result: Result) -> str:
    match, training = result["rows"][:2]
    shares = ", ".join(f"{name} {result['results'][name]:.1%}" for name in ("win", "draw", "loss"))
    asked = f"{match['metric'].partition(' against ')[0]} {match['of']}"
    time = f"{training['value'] / 60:.3g} min"
    if training["ratio"] is not None:
        time += f" of {training['value'] / training['ratio'] / 60:.3g}"
    game = f"{result['agent']} on {result['task']}"
    cells = [game, result["opponent"], f"{shares} of {result['games']}", asked, time]
    return f"| {' | '.join(cells)} |"


# All of it ----------------------------------------------------------------------------------------

TABLES: dict[str, Callable[[], str]] = {
    "pets": partial(learning, partial(goals.table_of, PETS)),
    "muzero": partial(learning, partial(goals.table_of, MUZERO)),
    "dreamer": partial(learning, partial(goals.table_of, DREAMERS)),
    "planning": planning_table,
    "simulator": simulator_table,
    "optimizers": optimizers_table,
    "simulator_speed": simulator_speed_table,
    "judo": judo_table,
    "period": partial(cases_table, "period", PERIOD, but=("bare",)),
    "delay": partial(rows_table, "control_loop", "delay", "undelayed"),
    "faults": partial(cases_table, "faults", FAULTS),
    "ros2": partial(cases_table, "ros2_echo", ECHO),
    "ros2_period": partial(cases_table, "ros2_period", PERIOD, but=("bare",)),
    "sample_efficiency": partial(learning, learning_curves.returns_table),
    "steps_to_threshold": partial(learning, learning_curves.steps_table),
    "training_cost": partial(learning, learning_curves.cost_table),
    "training": partial(rows_table, "training", "training", "beside"),
    "sac_check": partial(rows_table, "sac_check", "compare", "beside"),
    "guided_planning": partial(plan_or_policy_table, ("dhmbpo",)),
    "latent_planning": partial(plan_or_policy_table, DREAMERS),
    **{name: partial(rows_table, "dyna_q", name, "beside") for name in dyna_q.EXPERIMENTS},
    "caution": partial(rows_table, "caution", "caution", "without"),
    "search": partial(rows_table, "search", "search", "beside"),
    "tree_control": partial(rows_table, "tree_control", "tree_control", "beside"),
    "games": games_table,
    "imagination": partial(rows_table, "imagination", "imagination", "beside"),
}
FIGURES: dict[str, tuple[str, Callable[[], Figure]]] = {
    "pets.png": ("sample_efficiency", partial(learning_plot, partial(goals.plot, PETS))),
    "dreamer.png": ("sample_efficiency", partial(learning_plot, partial(goals.plot, DREAMERS))),
    "muzero.png": ("sample_efficiency", partial(learning_plot, partial(goals.plot, MUZERO))),
    "sample_efficiency.png": ("sample_efficiency", partial(learning_plot, learning_curves.plot)),
    "dyna_q.png": ("dyna_q", dyna_q.plot),
}


def filled(page: str) -> str:
    """The page with its tables made anew.

    Raises:
        KeyError: if it asks for a table that does not exist.
    """
    block = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
    return block.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}\n{found[3]}", page)


def digest(benchmark: str) -> str:
    """SHA-256 of all results of one benchmark."""
    return hashlib.sha256(json.dumps(load(benchmark), sort_keys=True).encode()).hexdigest()


def outdated() -> list[str]:
    """Pages and plots that differ from the results."""
    pages = [page.name for page in PAGES if filled(page.read_text()) != page.read_text()]
    return pages + [
        name
        for name, (benchmark, _) in FIGURES.items()
        if not (PLOTS / name).exists()
        or Image.open(PLOTS / name).info.get(DIGEST) != digest(benchmark)
    ]


def main(check: bool = False) -> None:
    """Write tables and plots anew.

    Args:
        check: write nothing; exit with 1 if something differs from the results.
    """
    if check:
        sys.exit(f"differ from the results: {', '.join(outdated())}" if outdated() else 0)
    for page in PAGES:
        page.write_text(filled(page.read_text()))
    PLOTS.mkdir(parents=True, exist_ok=True)
    for name, (benchmark, draw) in FIGURES.items():
        draw().savefig(PLOTS / name, dpi=110, metadata={DIGEST: digest(benchmark)})


if __name__ == "__main__":
    tyro.cli(main)
