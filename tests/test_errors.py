"""Words that a config does not know are refused, wherever a config has words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from mpc_robot.agents import AGENTS
from mpc_robot.agents.latent_planning import LatentPlanningConfig
from mpc_robot.controllers.simulator_planner import PlannerConfig
from mpc_robot.controllers.tree_planner import SampledTreeConfig
from mpc_robot.dynamics.simulator import Physics
from mpc_robot.runtime.control import ControlConfig
from mpc_robot.runtime.topics import Topics


def configs(value: Any) -> Iterator[Any]:
    """A config and all those inside."""
    if dataclasses.is_dataclass(value):
        yield value
        for field in dataclasses.fields(value):
            yield from configs(getattr(value, field.name))


def words() -> list[tuple[Any, str]]:
    """Every config that there is by default and has words, and which field they are in."""
    presets = [kind.preset("Hopper-v5+pixels") for kind in AGENTS.values()]
    others = (
        LatentPlanningConfig,
        SampledTreeConfig,
        ControlConfig,
        PlannerConfig,
        Physics,
        Topics,
    )
    roots = [*presets, *(kind() for kind in others)]
    found = {
        (type(config).__name__, name): (config, name)
        for root in roots
        for config in configs(root)
        for name, kind in get_type_hints(type(config)).items()
        if Literal in map(get_origin, (kind, *get_args(kind)))
    }
    return list(found.values())


@pytest.mark.parametrize(
    ("config", "field"),
    [pytest.param(*pair, id=f"{type(pair[0]).__name__}.{pair[1]}") for pair in words()],
)
def test_a_word_that_a_config_does_not_know(config: Any, field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected one of .*got 'a typo'"):
        dataclasses.replace(config, **{field: "a typo"})


def test_there_are_such_words() -> None:
    found = {f"{type(config).__name__}.{field}" for config, field in words()}
    assert {"EnsembleConfig.propagation", "FitConfig.loss", "ControlConfig.on_trip"} <= found
