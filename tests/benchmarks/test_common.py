"""Results come to disk whole, with what they were measured on."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import common


def test_a_result_says_what_it_was_measured_on() -> None:
    about = common.about("anything")
    assert list(about) == ["benchmark", "versions", "hardware", "commit"]
    assert about["versions"]["torch"] == torch.__version__
    head = subprocess.run(
        ("git", "rev-parse", "HEAD"), cwd=common.ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    assert about["commit"] in {head, f"{head}-dirty", None}
    assert about["hardware"]["cores"] >= 1
    json.dumps(about)


def test_outside_of_git_there_is_no_commit(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(common, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert common.commit() is None


def test_a_result_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "some" / "where" / "result.json"
    common.write_result(path, {"rows": [1.5]})
    with pytest.raises(ValueError, match="nan"):
        common.write_result(path, {"rows": [math.nan]})
    assert json.loads(path.read_text()) == {"rows": [1.5]}
    assert list(path.parent.iterdir()) == [path]
