from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

from mpc_robot.controllers.tree_drawing import tree_svg
from mpc_robot.controllers.tree_rules import UCTConfig
from mpc_robot.controllers.tree_search import SearchConfig, search
from mpc_robot.controllers.trees import Trees
from mpc_robot.dynamics.row_games import RowGameModel
from mpc_robot.envs.games import TIC_TAC_TOE

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def trees() -> Trees[Any]:
    model, rng = RowGameModel(TIC_TAC_TOE), np.random.default_rng(0)
    boards = TIC_TAC_TOE.empty(2)
    for action in (0, 3, 1, 4):
        TIC_TAC_TOE.play(boards[1:], np.array([action]))
    grown = Trees(model.root(boards, rng), rng)
    search(model, grown, SearchConfig(UCTConfig(), 40), rng)
    return grown


def test_every_node_is_drawn_once_with_its_value_and_visits(trees: Trees[Any]) -> None:
    nodes = trees.arrays.nodes[1][: trees.arrays.trees[1].used]
    root = ET.fromstring(tree_svg(trees, 1, most=1000))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    ends = int(((nodes["discount"] == 0) & (nodes["parent"] >= 0)).sum())
    assert len(list(root.iter(f"{SVG}circle"))) == len(nodes) - ends
    assert len(list(root.iter(f"{SVG}rect"))) == ends + 1, "and the background"
    assert len(list(root.iter(f"{SVG}line"))) == len(nodes) - 1
    assert ends > 0
    for node in nodes:
        assert f"{node.total / node.visits:.2f}" in texts
    assert sorted(int(t) for t in texts[len(nodes) :: 2]) == sorted(nodes["visits"].tolist())  # type: ignore[arg-type]


def test_nothing_overlaps_and_all_is_inside(trees: Trees[Any]) -> None:
    root = ET.fromstring(tree_svg(trees, 0, most=25))
    centres = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter(f"{SVG}circle")]
    assert len(set(centres)) == len(centres) == 25
    for depth in {y for _, y in centres}:
        across = np.sort([x for x, y in centres if y == depth])
        assert (np.diff(across) >= 40).all()
    assert max(x for x, _ in centres) + 20 <= float(root.attrib["width"])
    assert max(y for _, y in centres) + 20 <= float(root.attrib["height"])


def test_labels_are_escaped_and_the_same_tree_gives_the_same_text(trees: Trees[Any]) -> None:
    picture = tree_svg(trees, name=lambda node, action: f"<{action}&>")
    assert picture == tree_svg(trees, name=lambda node, action: f"<{action}&>")
    assert any(text.text == "<4&>" for text in ET.fromstring(picture).iter(f"{SVG}text"))


def test_there_must_be_something_to_draw(trees: Trees[Any]) -> None:
    with pytest.raises(ValueError, match=r"^row: expected from 0 to 1, got 2"):
        tree_svg(trees, 2)
    with pytest.raises(ValueError, match=r"^most"):
        tree_svg(trees, most=0)
