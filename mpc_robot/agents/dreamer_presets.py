"""The versions of Dreamer, and sizes and training ratios that suit a task on two cores.

They differ in what is learned and by which gradients. What they share is v3's: layer norm and SiLU
(v1 and v2: ELU), outputs that say 0 at first, and a head that foresees ends (v1 and v2 have none in
control). Unlike in the papers, all descend by plain Adam, v2's policy is v3's clipped normal, what
was really earned trains v3's critic but not its model, and all act by the mode when they are tested
(v3 samples).
"""

from __future__ import annotations

from dataclasses import replace

from mpc_robot.agents.behaviour import BehaviourConfig
from mpc_robot.agents.dreamer import DreamerConfig
from mpc_robot.dynamics.rssm_presets import SIZES, rssm_v1, rssm_v2, sized
from mpc_robot.envs.pixels import split_view
from mpc_robot.errors import UnknownNameError
from mpc_robot.nn.actor import ActorConfig
from mpc_robot.nn.descent import DescentConfig

TINY = replace(SIZES["tiny"], reward_scale=5.0)

V3 = DreamerConfig(
    model=TINY,
    behaviour=BehaviourConfig(
        slow_rate=0.1,
        starts=16,
        discount=0.98,
        entropy=1e-3,
        critic_descent=DescentConfig(1e-3),
    ),
)

V2 = replace(
    V3,
    model=rssm_v2(TINY),
    model_descent=DescentConfig(1e-3, "norm", 100.0),
    behaviour=BehaviourConfig(
        critic="gaussian",
        slow="target",
        slow_rate=1.0,
        slow_every=25,
        replay_scale=0.0,
        starts=16,
        discount=0.98,
        reinforce=0.0,
        entropy=1e-4,
        percentiles=None,
        actor_descent=DescentConfig(3e-4, "norm", 100.0),
        critic_descent=DescentConfig(1e-3, "norm", 100.0),
    ),
)

V1 = replace(
    V2,
    model=rssm_v1(TINY),
    behaviour=replace(
        V2.behaviour,
        actor=ActorConfig(squash="tanh", exploration=0.3),
        slow="none",
        entropy=0.0,
    ),
)

VERSIONS = {"v1": V1, "v2": V2, "v3": V3}
"""Name -> settings. Rates, discounts, training ratios and what rewards weigh are for tiny models
that take thousands of training steps, not the hundreds of thousands of the papers; see each field
for theirs. A Gaussian critic gets from 0 to what states are worth no faster than its rate allows.
"""

FRAME_SCALE, VECTOR_SCALE = 0.05, 10.0
"""What the weight of squared errors is multiplied by: a frame is thousands of places, a vector is a
few entries, and what matters of either must be worth more nats than it takes to say it."""

QUICK = {("v3", "CartpoleBalance-v0")}
"""What is learned from frames in so few actions that there is time for a training step after each.
"""


def dreamer_preset(version: str, task: str) -> DreamerConfig:
    """The settings of a version for a task's name, which tells whether it is seen as frames.

    Of frames, a random half is decoded in each training step, which saves a quarter of its time,
    and, but for those of ``QUICK``, there is a training step after every other action.
    """
    config = VERSIONS[version]
    scale = config.model.decoder_scale
    if "+pixels" not in task:
        return replace(config, model=replace(config.model, decoder_scale=VECTOR_SCALE * scale))
    model = replace(config.model, decoder_scale=FRAME_SCALE * scale, explained=0.5)
    pace = 1 if (version, split_view(task)[0]) in QUICK else 2
    return replace(config, model=model, update_every=pace)


def with_size(config: DreamerConfig, name: str) -> DreamerConfig:
    """The config with the networks of one of ``SIZES``.

    Policy and critic have three layers then, those of ``tiny`` two.

    Raises:
        UnknownNameError: if there is no such size.
    """
    if name not in SIZES:
        raise UnknownNameError("size", name, SIZES)
    hidden, behaviour = (2 if name == "tiny" else 3) * (SIZES[name].units,), config.behaviour
    actor = replace(behaviour.actor, hidden=hidden)
    return replace(
        config,
        model=sized(config.model, SIZES[name]),
        behaviour=replace(behaviour, actor=actor, critic_hidden=hidden),
    )
