"""The benchmark of tree search at control, in miniature, and what was published of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks import tree_control
from benchmarks.common import RESULTS

PUBLISHED = RESULTS / "tree_control"


def test_cases_have_equal_physics_and_are_played_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counted over the first decision, which is for as many control steps as it is held."""
    cases = ("tree-search", "cem", "icem")
    tree_control.main(cases, (0,), tmp_path, max_steps=8)
    compared = json.loads((tmp_path / "tree_control.json").read_text())["rows"]
    physics = {r["case"]: r["value"] for r in compared if r["metric"].startswith("physics")}
    assert physics["tree-search"] == pytest.approx(200 * (8 * 2 + 2) / 8, rel=0.01)
    for case in ("cem", "icem"):
        assert physics[case] == pytest.approx(physics["tree-search"], rel=0.05)
    beside = {row["case"]: (row["of"], row["ratio"]) for row in compared if row["ratio"]}
    assert set(beside) == {"cem", "icem"}
    assert {of for of, _ in beside.values()} == {"tree-search"}
    written = {path: path.read_text() for path in tmp_path.glob("*seed*.json")}
    assert len(written) == 3
    capsys.readouterr()
    tree_control.main(cases, (0,), tmp_path, max_steps=8)
    assert {path: path.read_text() for path in written} == written


def test_rows_are_means_and_worst_seeds() -> None:
    def result(total: float, physics: float) -> dict[str, float]:
        return {"return_mean": total, "physics_steps_per_step": physics, "time_per_step": 0.1}

    results = {
        "tree-search": [result(400.0, 100.0), result(200.0, 100.0)],
        "cem": [result(150.0, 200.0), result(30.0, 200.0)],
    }
    rows = {(row.case, row.metric): row for row in tree_control.rows(results)}
    assert rows["tree-search", "return_mean"].value == 300.0
    assert rows["tree-search", "return_mean"].ratio is None
    assert rows["cem", "return_mean"].ratio == pytest.approx(90 / 300)
    assert rows["cem", "return_of_worst_seed"].ratio == pytest.approx(30 / 200)
    assert rows["cem", "physics_steps_per_control_step"].ratio == pytest.approx(2.0)


@pytest.mark.skipif(not PUBLISHED.exists(), reason="not measured yet")
def test_what_was_published_swings_the_pole_up_on_every_seed() -> None:
    """A pole that is up and centred earns 1 a step, one that hangs 0; so most of 500 is up."""
    found = [json.loads(path.read_text()) for path in PUBLISHED.glob("tree-search-seed-*.json")]
    assert len(found) == 5
    assert all(result["steps"] == 500 and result["return_mean"] > 350 for result in found)
