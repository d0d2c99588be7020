"""What is said of who reaches what is in the results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks import goals, learning
from benchmarks.common import write_result
from benchmarks.studies import STUDIES, Goal, Study

BALANCE = "CartpoleBalance-v0+pixels+repeat2"


def run(
    steps: list[int], returns: list[float], oracle: float | None = None, **about: str
) -> dict[str, Any]:
    return {"env_steps": steps, "return_mean": returns, "oracle_return": oracle, **about}


@pytest.fixture(autouse=True)
def bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chance earns 7 on one task, and who does nothing 5."""
    monkeypatch.setattr(learning, "RESULTS", tmp_path)
    write_result(
        tmp_path / "unskilled" / "CartpoleBalance-v0+repeat2.json",
        {"random_return": 7.0, "zero_return": 5.0},
    )


@pytest.mark.parametrize(
    ("wanted", "step"), [(10.0, 500), (10.5, 1500), (30.0, 1500), (31.0, None)]
)
def test_the_first_step_that_reaches_a_return(wanted: float, step: int | None) -> None:
    result = run([500, 1000, 1500, 2000], [10.0, 5.0, 30.0, 20.0])
    assert goals.steps_to(result, wanted) == step


def test_median_and_worst_seed_count_those_that_never_arrive() -> None:
    results = [run([100, 200], [m, 95.0], 100.0) for m in (95.0, 0.0)]
    results.append(run([100, 200], [0.0, 89.0], 100.0))
    row = goals.row(BALANCE, Goal(0.9, 100, share=True), results)
    assert row == [
        *(BALANCE, "90 (90% of true dynamics)", "**200** of 3", "> 200", "100"),
        *("95", "100", "7", "5"),
    ]


def test_of_two_seeds_the_median_is_not_the_better_one() -> None:
    runs = [run([100, 200], [first, last]) for first, last in ((6.0, 6.0), (0.0, 1.0))]
    assert goals.row("Some-v0", Goal(5.0, 100), runs)[2:4] == ["**> 200** of 2", "> 200"]


def test_what_was_not_measured_is_a_dash() -> None:
    row = goals.row("Some-v0", Goal(5.0, 100), [run([50], [4.0])])
    assert row == ["Some-v0", "5", "**> 50** of 1", "> 50", "100", "4", "-", "-", "-"]


def test_a_share_of_what_was_not_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="oracle_return: expected a number"):
        Goal(0.9, 100, share=True).wanted(None)


def test_several_learners_are_told_apart() -> None:
    results = [
        run([20_000], [450.0], 500.0, agent=agent, task=BALANCE)
        for agent in ("world-models", "dreamer", "dreamer", "pets")
    ]
    lines = goals.table_of(("dreamer", "world-models"), results).splitlines()
    assert lines[0].startswith("| learner | task |")
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| dreamer", "| world-models"]
    assert "of 2" in lines[2]
    assert goals.table_of(("muzero",), results) == ""


def test_a_plot_has_a_panel_for_everything_that_was_learned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = {name: Study((Goal(5.0, 100),), 100, 50) for name in "ABC"}
    monkeypatch.setitem(STUDIES, "pets", tasks)
    results = [run([50, 100], [1.0, 6.0], agent="pets", task=name) for name in "AABC"]
    figure = goals.plot(("pets",), results)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["A", "B", "C", "", "", ""]
    assert [len(axes.get_lines()) for axes in figure.axes[:3]] == [4, 3, 3]
    assert goals.plot(("muzero",), results).axes[0].get_lines() == []


def test_chance_is_that_of_actions_held_as_long() -> None:
    assert learning.unskilled_return("CartpoleBalance-v0+pixels+stack2+repeat2", "random") == 7.0
    assert learning.unskilled_return("CartpoleBalance-v0+pixels", "random") is None
