"""Configs survive JSON, and a config that was meddled with is refused by name."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from mpc_robot.agents import AGENTS
from mpc_robot.controllers import OPTIMIZERS
from mpc_robot.envs import TASKS
from mpc_robot.training.config import from_json, to_json


@dataclass(frozen=True)
class Small:
    width: int = 3


@dataclass(frozen=True)
class Other:
    width: int = 3


@dataclass(frozen=True)
class Big:
    inner: Small | Other = field(default_factory=Small)
    mode: Literal["a", "b"] = "a"
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[float, str] = (0.5, "x")
    rate: float = 1.0
    name: str | None = None
    limit: int | float = 2
    on: bool = False


def through_json(config: Any) -> Any:
    return from_json(type(config), json.loads(json.dumps(to_json(config))))


@pytest.mark.parametrize(
    "config",
    [
        Big(),
        Big(inner=Other(width=9), mode="b", sizes=(), pair=(1.5, ""), name="n", limit=0.5, on=True),
    ],
)
def test_round_trip(config: Big) -> None:
    assert through_json(config) == config


@pytest.mark.parametrize("agent", AGENTS)
def test_every_preset_of_every_agent(agent: str) -> None:
    for task in TASKS:
        preset = AGENTS[agent].preset(task)
        assert through_json(preset) == preset


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(name: str) -> None:
    assert through_json(OPTIMIZERS[name][0]()) == OPTIMIZERS[name][0]()


def test_whole_numbers_that_json_wrote_for_floats() -> None:
    rebuilt = from_json(Big, {**to_json(Big()), "rate": 1})
    assert rebuilt.rate == 1.0 and isinstance(rebuilt.rate, float)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mode": "c"}, r"config\.mode: expected one of \['a', 'b'\], got 'c'"),
        ({"rate": "fast"}, r"config\.rate: expected float, got 'fast'"),
        ({"on": 1}, r"config\.on: expected bool, got 1"),
        ({"sizes": [1, 2.5]}, r"config\.sizes\[1\]: expected int, got 2\.5"),
        ({"sizes": 1}, r"config\.sizes: expected a list, got 1"),
        ({"pair": [1.0]}, r"config\.pair: expected 2 entries"),
        ({"inner": {"type": "Huge", "width": 1}}, r"config\.inner: expected one of"),
        ({"inner": {"type": "Small"}}, r"config\.inner\.width: missing"),
        ({"inner": 3}, r"config\.inner: expected one of"),
        ({"colour": "red"}, r"config\.colour: not a field of Big"),
    ],
)
def test_meddling_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        from_json(Big, {**to_json(Big()), **change})


def test_no_config_at_all() -> None:
    with pytest.raises(ValueError, match="config: expected an object for Big, got None"):
        from_json(Big, None)
