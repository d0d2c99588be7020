"""Games by the command: trained, evaluated against whom one names, and played by hand."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpc_robot.cli import main

pytest.importorskip("pyspiel")

GOOD, FAILED, WRONG_WORDS = 0, 1, 2
TRAIN = ["train", "--agent", "alphazero", "--task", "tic_tac_toe", "--steps", "60"]
TRAIN += ["--eval-episodes", "2", "--config.games", "4", "--config.simulations", "4"]
TRAIN += ["--config.simulations-of-controller", "30", "--config.net.channels", "4"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("games") / "run"
    assert main([*TRAIN, "--out", str(path)]) == GOOD
    return path


def test_a_run_is_evaluated_against_whom_one_names(
    run: Path, said: Callable[[], dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", str(run), "--games", "4", "--opponent"]
    assert main([*words, "perfect", "--json"]) == GOOD
    outcome = said()
    assert outcome["opponent"] == "perfect" and len(outcome["returns"]) == 4
    assert outcome["win"] == 0.0 and outcome["draw"] + outcome["loss"] == 1.0
    assert main([*words, "random", "--tree", str(run / "tree.svg")]) == GOOD
    assert ">31</text>" in (run / "tree.svg").read_text(), "visits of 30 simulations and the root"
    assert "against random: win " in capsys.readouterr().out
    assert main([*words, "nobody", "--json"]) == WRONG_WORDS
    assert said()["error"].startswith("unknown opponent 'nobody'")


def type_in(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{word}\n" for word in words)))


def test_it_is_played_in_the_terminal(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Typing every number in turn, a player runs through moves of which some are legal."""
    type_in(monkeypatch, *[str(move) for _ in range(9) for move in range(9)])
    tree = tmp_path / "tree.svg"
    words = ["play", str(run), "--games", "1", "--tree", str(tree), "--json"]
    assert main(words) == GOOD
    out, err = capsys.readouterr()
    assert tree.read_text().startswith("<svg"), "its last move has a picture"
    assert "Your move:" in err and any(word in err for word in ("You won.", "You lost.", "A draw"))
    assert '"returns": [' in out.splitlines()[-1]


def test_what_is_no_move_is_explained_and_words_do_as_well_as_numbers(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    type_in(monkeypatch, "castle", "9", *[f"o({row},{column})" for row in "01" for column in "01"])
    assert main(["play", str(run)]) == FAILED
    out, err = capsys.readouterr()
    text = " ".join(out.split())
    assert "Expected one of " in text and "got 'castle'" in text and "got '9'" in text
    assert "(o(" in text, "the numbers are told with their words"
    assert text.count("Your move:") >= 4, "some word was a move"
    assert err == "error: no more moves came: the game was left\n"


def test_only_games_are_played(tmp_path: Path, said: Callable[[], dict[str, Any]]) -> None:
    words = ["train", "--agent", "dyna-q", "--task", "mpc_robot/DynaMaze-v0", "--steps", "5"]
    path = str(tmp_path / "run")
    assert main([*words, "--eval-episodes", "1", "--out", path]) == GOOD
    assert main(["play", path, "--json"]) == FAILED
    assert said()["error"].startswith("opponent: expected a game to play against, got 'mpc_robot/")
    assert main(["eval", path, "--opponent", "random", "--json"]) == FAILED
    assert main(["eval", path, "--tree", str(tmp_path / "t.svg"), "--json"]) == FAILED
    assert "expected a controller that searches a tree" in said()["error"]


@pytest.mark.parametrize("games", ["0", "-3"])
def test_no_game_at_all_is_refused(games: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", "runs/any", "--games", games]) == WRONG_WORDS
    assert "games: expected at least 1" in capsys.readouterr().err
