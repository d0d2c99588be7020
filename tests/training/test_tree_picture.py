"""Pictures of trees: the first decision's, the last one's, and only of what searches trees."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc_robot.controllers import RandomController
from mpc_robot.controllers.tree_planner import RULES, NumberedTreeConfig, tree_planner
from mpc_robot.controllers.tree_search import SearchConfig, TreeSearch
from mpc_robot.dynamics.sampled_actions import SampledActions, grid
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import get_task, make_env, physics_state
from mpc_robot.training.tree_picture import draw_first_tree, draw_last_tree, write_tree

BALANCE, CARTPOLE = get_task("CartpoleBalance-v0"), get_task("CartPole-v1")


def labels(path: Path) -> list[str]:
    """All words in a picture."""
    texts = ET.parse(path).getroot().iter("{http://www.w3.org/2000/svg}text")
    return [str(text.text) for text in texts]


def test_edges_say_the_actions_that_can_be_applied(tmp_path: Path) -> None:
    model = SampledActions(Simulator(BALANCE, threads=1), grid([-1.0], [1.0], 4))
    search = TreeSearch(model, SearchConfig(RULES["uct"], 4))
    with pytest.raises(ValueError, match="tree: expected a search that has decided something"):
        write_tree(search, tmp_path / "t.svg")
    with closing(make_env(BALANCE)) as env:
        env.reset(seed=0)
        search.act(physics_state(env))
    write_tree(search, tmp_path / "t.svg")
    assert {"-1", "-0.333", "0.333", "1"} <= set(labels(tmp_path / "t.svg"))
    assert [path.name for path in tmp_path.iterdir()] == ["t.svg"], "no draft is left"


def searching() -> TreeSearch[Any]:
    return tree_planner(CARTPOLE, NumberedTreeConfig(SearchConfig(RULES["puct"], 9, reuse=True)))


@pytest.mark.parametrize("draw", [draw_first_tree, draw_last_tree])
def test_the_first_decision_stays_and_the_last_is_drawn_anew(draw: Any, tmp_path: Path) -> None:
    """What was kept of the last tree adds to the root's visits, of which the first has ten."""
    path, plain = tmp_path / "t.svg", searching()
    search = searching()
    actor, observation = draw(search, path), np.array([0.0, 0.1, 0.02, -0.1])
    assert not path.exists() and actor.observes == search.observes
    assert actor.act(observation) == plain.act(observation)
    first = path.read_text()
    assert "10" in labels(path)
    actor.act(observation)
    visits = str(search.trees.arrays.nodes[0, 0].visits)  # type: ignore[union-attr]
    assert int(visits) > 10
    assert (visits in labels(path)) is (draw is draw_last_tree)
    assert (path.read_text() == first) is (draw is draw_first_tree)


def test_what_searches_no_tree_has_none_to_draw(tmp_path: Path) -> None:
    chance = RandomController(np.array([-1.0]), np.array([1.0]))
    for draw in (draw_first_tree, draw_last_tree):
        with pytest.raises(ValueError, match="controller that searches a tree, got RandomContr"):
            draw(chance, tmp_path / "t.svg")
    assert not list(tmp_path.iterdir())
