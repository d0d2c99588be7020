"""Variants of a model against MuJoCo models changed by hand."""

from __future__ import annotations

import copy

import mujoco
import numpy as np
import pytest
import torch

from mpc_robot.dynamics.randomization import Randomization, draw_variants
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import get_task, make_env, physics_state

RNG = torch.Generator()
EVERYTHING = Randomization(
    variants=4,
    mass=(0.5, 2.0),
    friction=(0.3, 1.5),
    damping=(0.5, 2.0),
    gain=(0.7, 1.4),
    delay=(0.0, 0.03),
    seed=3,
)
ARM = """<mujoco><option timestep="0.005"/><worldbody>
<body><joint name="j" damping="0.1"/><geom size=".1" pos="0 0 -.5"/></body></worldbody>
<actuator><position joint="j" kp="20" kv="2" ctrlrange="-1 1"/></actuator></mujoco>"""


@pytest.mark.parametrize("name", ["Hopper-v5", "HalfCheetah-v5"])
def test_each_particle_is_what_mujoco_does_with_that_variants_model(name: str) -> None:
    task = get_task(name)
    env = make_env(task)
    env.reset(seed=0)
    start = physics_state(env)
    simulator = Simulator(task, threads=2, randomize=EVERYTHING)
    actions = np.random.default_rng(0).uniform(-1, 1, (3, 6, simulator.model.nu))
    future = simulator.rollout(simulator.start(start, 3), torch.from_numpy(actions), RNG)
    assert future.rewards.shape == (3, 4, 6)
    for k in range(4):
        model = copy.copy(simulator.model)
        for field, values in simulator.variants.fields.items():
            getattr(model, field)[:] = values[k]
        data = mujoco.MjData(model)
        mujoco.mj_setConst(model, data)
        mujoco.mj_setState(model, data, start, mujoco.mjtState.mjSTATE_INTEGRATION)
        late, expected = int(simulator.variants.delay[k]), []
        for substep in range(6 * simulator.frame_skip):
            issued = (substep - late) // simulator.frame_skip
            data.ctrl[:] = actions[1, issued] if issued >= 0 else 0.0
            mujoco.mj_step(model, data)
            if (substep + 1) % simulator.frame_skip == 0:
                expected.append(task.observe({"qpos": data.qpos, "qvel": data.qvel}))
        seen = future.observations[1, k, 1:].numpy()
        alive = int(future.continues[1, k].sum())
        assert alive >= 3
        np.testing.assert_allclose(seen[:alive], np.array(expected)[:alive], atol=1e-9)
    assert len({float(r) for r in future.rewards[1, :, 2]}) == 4


def test_nothing_randomised_is_the_model_itself() -> None:
    task = get_task("Hopper-v5")
    env = make_env(task)
    env.reset(seed=0)
    plain, many = Simulator(task, 1), Simulator(task, 1, Randomization(variants=3))
    actions = torch.rand(2, 8, 3, generator=torch.Generator().manual_seed(0))
    one = plain.rollout(plain.start(physics_state(env), 2), actions, RNG)
    three = many.rollout(many.start(physics_state(env), 2), actions, RNG)
    assert torch.equal(three.observations, one.observations.expand(2, 3, -1, -1))


def test_threads_change_no_bit_of_any_variant() -> None:
    task = get_task("Hopper-v5")
    env = make_env(task)
    env.reset(seed=0)
    actions = torch.rand(5, 8, 3, generator=torch.Generator().manual_seed(0))
    one, two = (Simulator(task, threads, EVERYTHING) for threads in (1, 2))
    first, second = (s.rollout(s.start(physics_state(env), 5), actions, RNG) for s in (one, two))
    assert torch.equal(first.observations, second.observations)


def test_factors_keep_to_their_ranges_and_the_first_variant_to_the_model() -> None:
    model = make_env(get_task("Ant-v5")).unwrapped.model  # type: ignore[attr-defined]
    variants = draw_variants(model, Randomization(200, mass=(0.5, 2.0), friction=(0.8, 0.9)))
    mass = variants.fields["body_mass"][:, 1:] / model.body_mass[1:]
    inertia = variants.fields["body_inertia"][:, 1:] / model.body_inertia[1:]
    np.testing.assert_allclose(inertia, np.broadcast_to(mass[..., None], inertia.shape))
    assert (mass[0] == 1).all()
    assert mass.min() >= 0.5
    assert mass.max() <= 2.0
    assert abs(np.log(mass[1:]).mean()) < 0.05  # half as likely as double
    sliding = variants.fields["geom_friction"][1:, :, 0] / model.geom_friction[:, 0]
    assert (sliding == sliding[:, :1]).all()  # one factor for every contact
    assert ((sliding >= 0.8) & (sliding <= 0.9)).all()
    assert "dof_damping" not in variants.fields


def test_a_servos_gain_scales_its_feedback_too() -> None:
    model = mujoco.MjModel.from_xml_string(ARM)
    fields = draw_variants(model, Randomization(2, gain=(1.5, 1.5))).fields
    np.testing.assert_allclose(fields["actuator_gainprm"][1, 0, 0], 30.0)
    np.testing.assert_allclose(fields["actuator_biasprm"][1, 0, :3], [0.0, -30.0, -3.0])


def test_sensed_states_err_by_as_much_as_is_said_and_alike_for_every_candidate() -> None:
    model = mujoco.MjModel.from_xml_string(ARM)
    config = Randomization(401, position_noise=0.1, velocity_noise=0.3)
    size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION)
    variants = draw_variants(model, config)
    true = variants.sensed(np.zeros((802, size)), model, torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(true[:401], true[401:])
    assert (true[0] == 0).all()  # the nominal variant
    assert true[1:401, 1].std() == pytest.approx(0.1, rel=0.15)
    assert true[1:401, 2].std() == pytest.approx(0.3, rel=0.15)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("variants", 0),
        ("mass", (0.0, 1.0)),
        ("friction", (2.0, 1.0)),
        ("gain", (1.0, float("nan"))),
        ("delay", (-0.1, 0.0)),
        ("velocity_noise", -1.0),
    ],
)
def test_what_makes_no_sense_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected"):
        Randomization(**{field: value})  # type: ignore[arg-type]
