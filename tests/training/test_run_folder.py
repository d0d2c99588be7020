"""A run folder is made once, whole, and read back with clear words."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mpc_robot.errors import CheckpointError, RunExistsError
from mpc_robot.training.run_folder import RunFolder


def nothing() -> None:
    """Saves nothing."""


@pytest.mark.parametrize("leftover", ["config.json", "metrics.jsonl"])
def test_what_is_there_is_left_alone(tmp_path: Path, leftover: str) -> None:
    (tmp_path / leftover).write_text("precious")
    with pytest.raises(RunExistsError, match=r"already holds a run .*--resume"):
        RunFolder(tmp_path).create({}, save_first=lambda: pytest.fail("touched"))
    assert [file.name for file in tmp_path.iterdir()] == [leftover]
    assert (tmp_path / leftover).read_text() == "precious"


def test_other_files_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    RunFolder(tmp_path).create({"agent": "x"}, save_first=nothing)
    assert RunFolder(tmp_path).read_config()["agent"] == "x"
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    with pytest.raises(NotADirectoryError, match=r"notes\.txt: expected a folder, got a file"):
        RunFolder(file).create({}, save_first=lambda: pytest.fail("touched"))
    assert file.read_text() == "mine"


def test_it_is_no_run_before_its_first_checkpoint_is_saved(tmp_path: Path) -> None:
    def fail() -> None:
        assert not (tmp_path / "config.json").exists()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        RunFolder(tmp_path).create({}, save_first=fail)
    RunFolder(tmp_path).check_free()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda file: file.unlink(), "no run in"),
        (lambda file: file.write_text(file.read_text()[:-3]), "is damaged"),
        (lambda file: file.write_text("[]"), "expected format 1, got None"),
        (lambda file: file.write_text(json.dumps({"format": 7})), "expected format 1, got 7"),
    ],
)
def test_damaged_config(tmp_path: Path, damage: Callable[[Path], None], words: str) -> None:
    folder = RunFolder(tmp_path)
    folder.create({}, save_first=nothing)
    damage(folder.config)
    with pytest.raises(CheckpointError, match=words):
        folder.read_config()
