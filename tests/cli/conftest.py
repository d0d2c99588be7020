"""What tests of every subcommand need."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The command sets torch's threads; put them back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], dict[str, Any]]:
    """The JSON object on the last line of stdout."""
    return lambda: json.loads(capsys.readouterr().out.splitlines()[-1])
