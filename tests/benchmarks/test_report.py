"""README and plots say what the results say."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import common, report


def test_readme_and_plots_are_those_of_the_results() -> None:
    assert report.outdated() == []


def test_what_is_said_of_seeds_in_words_is_in_the_results() -> None:
    runs = [r for r in report.load("sample_efficiency") if "pixels" in r["task"]]
    swingup = [r for r in runs if r["agent"] == "dreamer" and "Swingup" in r["task"]]
    (racing,) = (r for r in runs if "CarRacing" in r["task"])
    found = [r["return_mean"][r["env_steps"].index(40_000)] for r in swingup]
    shares = [a / r["oracle_return"] for a, r in zip(found, swingup, strict=True)]
    hours = [r["wall_s"][-1] / 3_600 for r in swingup]
    text = " ".join((common.ROOT / "docs" / "imagination.md").read_text(encoding="utf-8").split())
    one, other = zip(found, shares, strict=True)
    assert (
        f"{one[0]:.0f} ({one[1]:.0%} of true dynamics) and {other[0]:.0f} ({other[1]:.0%})" in text
    )
    assert f"took them {hours[0]:.1f} h and {hours[1]:.1f} h of one core" in text
    assert f"They took {racing['wall_s'][-1] / 60:.0f} minutes." in text


def test_a_table_that_was_edited_is_noticed(tmp_path: Path, monkeypatch: Any) -> None:
    page = tmp_path / "README.md"
    text = report.PAGES[0].read_text()
    page.write_text(text.replace("| CartpoleBalance-v0 |", "| CartpoleBalance-v1 |"))
    assert page.read_text() != text
    monkeypatch.setattr(report, "PAGES", (page,))
    assert report.outdated() == ["README.md"]


def test_a_plot_of_other_results_is_noticed(monkeypatch: Any) -> None:
    monkeypatch.setattr(report, "digest", lambda benchmark: f"other {benchmark}")
    assert report.outdated() == list(report.FIGURES)


def test_a_case_has_a_line_and_what_was_not_measured_has_no_table(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    assert report.cases_table("period", report.PERIOD) == ""
    assert report.rows_table("caution", "caution", "without") == ""
    rows = [
        common.Row("bare", "jitter_p50", 1e-4, "s"),
        common.Row("loop, 50 Hz", "jitter_p50", 2e-4, "s", "bare", 2.0),
        common.Row("loop, 50 Hz", "missed_deadlines", 0.25, "1"),
        common.Row("loop, 50 Hz", "tick_p50", 1e-3, "s"),
        common.Row("loop, 90 Hz", "missed_deadlines", 0.5, "1"),
    ]
    result = {"rows": [asdict(row) for row in rows]}
    common.write_result(tmp_path / "control_loop" / "period.json", result)
    assert report.cases_table("period", report.PERIOD, but=("bare",)).splitlines() == [
        "| case | jitter p50 | missed deadlines |",
        "|---|---|---|",
        "| loop, 50 Hz | 0.2 ms (2.00) | 0.25 |",
        "| loop, 90 Hz |  | 0.5 |",
    ]


def test_a_game_has_its_match_and_its_training(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    assert report.games_table() == ""
    shares = {"win": 0.125, "draw": 0.875, "loss": 0.0}
    case = "alphazero on nim"
    rows = [
        common.Row(case, "win or draw against perfect", 1.0, "1", "at least 100%", 1.0),
        common.Row(case, "training", 90.0, "s", "the limit", 0.25),
    ]
    result = {
        "agent": "alphazero",
        "task": "nim",
        "opponent": "perfect",
        "games": 8,
        "results": shares,
    }
    full = {**result, "rows": [asdict(row) for row in rows]}
    common.write_result(tmp_path / "games" / "nim.json", full)
    assert report.games_table().splitlines()[-1] == (
        "| alphazero on nim | perfect | win 12.5%, draw 87.5%, loss 0.0% of 8 "
        "| win or draw at least 100% | 1.5 min of 6 |"
    )
