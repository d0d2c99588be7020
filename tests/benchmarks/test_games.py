"""The benchmark of games, in miniature, and what was published of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import games
from benchmarks.common import RESULTS

from mpc_robot.agents import alphazero_presets
from mpc_robot.agents.alphazero import AlphaZeroConfig
from mpc_robot.nn.policy_value import PolicyValueConfig

pytest.importorskip("pyspiel")


def test_a_game_is_learned_and_matched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    net = PolicyValueConfig(blocks=0, channels=4, value_units=4)
    tiny = AlphaZeroConfig(net, games=4, simulations=4, simulations_of_controller=4)
    monkeypatch.setitem(alphazero_presets.PRESETS, "tic_tac_toe", tiny)
    case = games.CASES["tic_tac_toe"]
    train = replace(case.train, steps=60, eval_every=60, eval_episodes=1)
    monkeypatch.setitem(games.CASES, "tic_tac_toe", replace(case, train=train, games=4))
    games.main(("tic_tac_toe",), tmp_path / "runs", tmp_path / "out")
    result = json.loads((tmp_path / "out" / "tic_tac_toe.json").read_text())
    assert result["benchmark"] == "games" and result["opponent"] == "perfect"
    assert result["results"]["win"] == 0.0, "nobody beats perfect play"
    assert sum(result["results"].values()) == pytest.approx(1.0)
    (not_lost, training, *_) = result["rows"]
    assert not_lost["value"] == result["results"]["draw"] == not_lost["ratio"]
    assert training["value"] == result["wall_s"][-1] == pytest.approx(600 * training["ratio"])
    capsys.readouterr()
    games.main(("tic_tac_toe",), tmp_path / "none", tmp_path / "out")
    assert not (tmp_path / "none").exists() and not capsys.readouterr().out


@pytest.mark.parametrize("path", sorted((RESULTS / "games").glob("*.json")), ids=lambda p: p.stem)
def test_what_was_published_is_as_good_as_was_asked(path: Path) -> None:
    result, case = json.loads(path.read_text()), games.CASES[path.stem]
    assert result["opponent"] == case.opponent and result["games"] == case.games
    good = sum(result["results"][part] for part in case.counts)
    assert good >= case.wanted
    assert case.limit_s is None or result["wall_s"][-1] <= case.limit_s
