"""iLQR against Riccati recursions, other optimizers and the environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from mpc_robot.controllers import ILQR, ILQRConfig
from mpc_robot.controllers.ilqr import Costs, backward_pass
from mpc_robot.dynamics.linearization import Linearization
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import MjcfEnv, Task, env_spec, get_task, make_env, physics_state
from mpc_robot.envs.servo import PDServo

torch.set_num_threads(1)
CART = """<mujoco><option timestep="0.1" gravity="0 0 0"/><worldbody>
<body><joint name="x" type="slide" axis="1 0 0"/><geom size=".1" mass="1"/></body></worldbody>
<actuator><motor joint="x" ctrlrange="-1 1" gear="2"/></actuator></mujoco>"""
A, B = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.02], [0.2]])
Q, R = np.diag([1.0, 0.1]), np.array([[0.05]])


def observe(fields: Any) -> Any:
    return np.concatenate([fields["qpos"], fields["qvel"]], axis=-1)


def quadratic(obs: Any, action: Any, next_obs: Any) -> Any:
    return -(next_obs[..., 0] ** 2 + 0.1 * next_obs[..., 1] ** 2 + 0.05 * action[..., 0] ** 2)


@pytest.fixture
def cart(tmp_path: Path) -> Iterator[Task]:
    """A mass on a rail whose force has limits: linear, with a quadratic reward."""
    (tmp_path / "cart.xml").write_text(CART)

    def make(**kwargs: Any) -> MjcfEnv:
        return MjcfEnv(
            tmp_path / "cart.xml",
            observe=observe,
            fields=("qpos", "qvel"),
            reward=quadratic,
            start=lambda data, rng: None,
            **kwargs,
        )

    gym.register("test/Cart-v0", make)
    yield Task("cart", "test/Cart-v0", reward=quadratic, observe=observe, fields=("qpos", "qvel"))
    del gym.registry["test/Cart-v0"]


def planner(task: Task, threads: int = 1, **config: Any) -> ILQR:
    usual = {"horizon": 2.0, "iterations": 5, "regularization": 1e-6, "tolerance": 1e-9}
    settings = ILQRConfig(**{**usual, **config})
    return ILQR(Simulator(task, threads), env_spec(make_env(task)), settings)


def cart_at(task: Task, x: float, v: float = 0.0) -> np.ndarray:
    state = physics_state(make_env(task))
    state[1:3] = x, v
    return state


def cost(actions: np.ndarray, x: np.ndarray) -> float:
    """What the linear system costs, by its equations."""
    total = 0.0
    for u in actions.reshape(-1, 1):
        x = A @ x + B @ u
        total += float(x @ Q @ x + u @ R @ u)
    return total


# The pieces.


def test_backward_pass_is_the_riccati_recursion() -> None:
    """The reward is of the next state: x' = A x + B u costs x''Q x' + u'R u."""
    rng, horizon, n, m = np.random.default_rng(0), 12, 4, 2
    a, b = rng.normal(size=(n, n)) / 2, rng.normal(size=(n, m))
    q, r = np.diag(rng.uniform(0.5, 2, n)), np.diag(rng.uniform(0.5, 2, m))
    f_x, f_u = np.tile(a, (horizon, 1, 1)), np.tile(b, (horizon, 1, 1))
    step = np.concatenate([a, b], axis=1)
    both = 2 * step.T @ q @ step
    both[n:, n:] += 2 * r
    costs = Costs(
        np.zeros((horizon, n + m)), np.tile(both, (horizon, 1, 1)), np.zeros(n), np.zeros((n, n))
    )
    limits = np.full((horizon, m), 1e3)
    k, gains = backward_pass(Linearization(f_x, f_u, f_x, f_u), costs, -limits, limits, 0.0)
    p = q
    for t in reversed(range(horizon)):
        gain = np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)
        np.testing.assert_allclose(gains[t], -gain, atol=1e-9)
        p = q + a.T @ p @ (a - b @ gain)
    np.testing.assert_allclose(k, 0.0, atol=1e-12)


def test_no_feedback_on_an_action_at_its_limit() -> None:
    f_x, f_u = np.eye(1)[None], np.eye(1)[None]
    costs = Costs(np.array([[0.0, 1.0]]), np.eye(2)[None] + 0.5, np.zeros(1), np.zeros((1, 1)))
    k, gains = backward_pass(
        Linearization(f_x, f_u, f_x, f_u), costs, np.array([[-0.1]]), np.array([[0.1]]), 0.0
    )
    np.testing.assert_array_equal(k, [[-0.1]])
    np.testing.assert_array_equal(gains, 0.0)


# The whole.


def test_on_a_linear_system_it_acts_as_riccati_says(cart: Task) -> None:
    controller, x = planner(cart), np.array([0.1, 0.05])
    action = controller.act(cart_at(cart, *x))
    p = Q
    for _ in range(20):
        gain = np.linalg.solve(R + B.T @ p @ B, B.T @ p @ A)
        p = Q + A.T @ p @ (A - B @ gain)
    np.testing.assert_allclose(action, -gain @ x, atol=1e-6)
    assert controller.plan is not None
    assert controller.plan.value == pytest.approx(-(x @ (p - Q) @ x), rel=1e-9)


def test_with_limits_it_finds_the_best_plan_within_them(cart: Task) -> None:
    controller, x = planner(cart, iterations=30), np.array([1.5, 0.0])
    controller.act(cart_at(cart, *x))
    found = minimize(cost, np.zeros(20), args=(x,), bounds=[(-1, 1)] * 20, tol=1e-12)
    assert controller.plan is not None
    assert (controller.plan.actions.abs() > 0.999).any()  # limits matter here
    assert controller.plan.value == pytest.approx(-found.fun, rel=1e-6)
    np.testing.assert_allclose(controller.plan.actions[:, 0], found.x, atol=1e-3)


def test_having_converged_is_no_failure(cart: Task) -> None:
    """Where nothing can be improved for long, it is as quick as ever to act when something can."""
    controller, x = planner(cart, iterations=1, tolerance=1e-4), np.array([0.1, 0.05])
    for _ in range(40):
        np.testing.assert_allclose(controller.act(cart_at(cart, 0.0)), 0.0, atol=1e-9)
    fresh = planner(cart, iterations=1, tolerance=1e-4)
    expected = fresh.act(cart_at(cart, *x))
    np.testing.assert_allclose(controller.act(cart_at(cart, *x)), expected, atol=1e-4)
    assert abs(expected) > 0.1


def test_a_terminal_value_closes_the_horizon(cart: Task) -> None:
    """With the cost-to-go as terminal value, one step ahead is as good as for ever."""
    p = Q
    for _ in range(500):
        gain = np.linalg.solve(R + B.T @ p @ B, B.T @ p @ A)
        p = Q + A.T @ p @ (A - B @ gain)
    to_go = torch.from_numpy(p - Q)
    controller = ILQR(
        Simulator(cart, threads=1),
        env_spec(make_env(cart)),
        ILQRConfig(horizon=0.1, regularization=1e-6),
        terminal_value=lambda obs: -((obs @ to_go) * obs).sum(-1),
    )
    x = np.array([0.1, -0.02])
    np.testing.assert_allclose(controller.act(cart_at(cart, *x)), -gain @ x, atol=1e-5)


def test_the_plan_is_what_the_environment_then_pays(cart: Task) -> None:
    task = get_task("CartpoleSwingup-v0")
    env, controller = make_env(task), planner(task, horizon=0.6, iterations=3)
    env.reset(seed=0)
    controller.act(physics_state(env))
    plan = controller.plan
    assert plan is not None
    paid = sum(float(env.step(action)[1]) for action in plan.actions.numpy())
    assert plan.value == pytest.approx(paid, abs=1e-6)
    assert controller.predict().returns().item() == pytest.approx(paid, abs=1e-6)


def test_improves_and_never_worsens(cart: Task) -> None:
    values = []
    for iterations in range(1, 6):
        controller = planner(cart, iterations=iterations)
        controller.act(cart_at(cart, 3.0))
        assert controller.plan is not None
        values.append(controller.plan.value)
    assert values == sorted(values)
    assert values[0] > -cost(np.zeros(20), np.array([3.0, 0.0]))


def test_the_plan_goes_on_from_step_to_step(cart: Task) -> None:
    """One iteration per step catches up with many at once."""
    env, controller = make_env(get_task("CartpoleBalance-v0")), None
    controller = planner(get_task("CartpoleBalance-v0"), horizon=1.0, iterations=1)
    env.reset(seed=3)
    for _ in range(15):
        state = physics_state(env)
        env.step(controller.act(state))
    best = planner(get_task("CartpoleBalance-v0"), horizon=1.0, iterations=30)
    best.act(state)
    assert controller.plan is not None and best.plan is not None
    assert controller.plan.value == pytest.approx(best.plan.value, abs=1e-3)


def test_nothing_is_earned_after_termination(cart: Task) -> None:
    """Everybody who is beyond 1 m is dead; a start beyond earns exactly one reward."""

    def ends(next_obs: Any) -> Any:
        return abs(next_obs[..., 0]) > 1.0

    controller = planner(replace(cart, terminated=ends))
    controller.act(cart_at(cart, 2.0))
    assert controller.plan is not None
    rewards = controller.predict().rewards
    assert controller.plan.value == pytest.approx(rewards[0, 0, 0].item(), abs=1e-9)
    assert controller.plan.value < -3.5


def test_what_comes_after_termination_does_not_disturb_what_comes_before(cart: Task) -> None:
    """Beyond 1 m rewards are not numbers; the plan that brakes lives, and braking is found."""

    def ends(next_obs: Any) -> Any:
        return abs(next_obs[..., 0]) > 1.0

    def reward(obs: Any, action: Any, next_obs: Any) -> Any:
        where = torch.where if isinstance(action, torch.Tensor) else np.where
        return where(ends(obs), np.nan, 5.0 + quadratic(obs, action, next_obs))

    controller = planner(replace(cart, reward=reward, terminated=ends), iterations=10)
    controller.act(cart_at(cart, 0.95, 0.3))
    assert controller.plan is not None
    assert controller.plan.actions[0] < -0.5
    assert (controller.predict().continues == 1).all()
    assert controller.plan.value == pytest.approx(controller.predict().returns().item())


def test_where_the_last_plan_diverges_it_begins_anew(cart: Task) -> None:
    broken = [False]

    def reward(obs: Any, action: Any, next_obs: Any) -> Any:
        """While broken, only going without force has a value."""
        where = torch.where if isinstance(action, torch.Tensor) else np.where
        bad = (abs(action[..., 0]) > 1e-6) & broken[0]
        return where(bad, np.nan, quadratic(obs, action, next_obs))

    controller = planner(replace(cart, reward=reward))
    controller.act(cart_at(cart, 0.5))
    broken[0] = True
    for _ in range(3):
        assert abs(controller.act(cart_at(cart, 0.5, 0.1))) <= 1e-6
        assert controller.plan is not None
        assert controller.plan.value > -np.inf


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_cannot_be_valued_is_never_accepted(cart: Task, bad: float) -> None:
    """The best actions are beyond 0.25, where rewards are not numbers."""

    def reward(obs: Any, action: Any, next_obs: Any) -> Any:
        where = torch.where if isinstance(action, torch.Tensor) else np.where
        return where(abs(action[..., 0]) > 0.25, bad, quadratic(obs, action, next_obs))

    controller = planner(replace(cart, reward=reward), iterations=10)
    controller.act(cart_at(cart, 1.0))
    assert controller.plan is not None
    assert (controller.plan.actions.abs() <= 0.25).all()
    assert -cost(np.zeros(20), np.array([1.0, 0.0])) < controller.plan.value < 0


def test_when_nothing_can_be_valued_it_goes_on_as_planned(cart: Task) -> None:
    broken = [False]

    def reward(obs: Any, action: Any, next_obs: Any) -> Any:
        return quadratic(obs, action, next_obs) * (np.nan if broken[0] else 1.0)

    controller = planner(replace(cart, reward=reward))
    controller.act(cart_at(cart, 0.5))
    assert controller.plan is not None
    intended = controller.plan.actions.clone()
    broken[0] = True
    np.testing.assert_array_equal(controller.act(cart_at(cart, 0.4)), intended[1])
    assert controller.plan.value == -np.inf
    torch.testing.assert_close(controller.plan.actions[:-1], intended[1:])
    broken[0] = False
    controller.act(cart_at(cart, 0.3))
    assert controller.plan.value > -np.inf


def test_same_bits_again_and_on_two_threads() -> None:
    task = get_task("CartpoleSwingup-v0")

    def drive(controller: ILQR) -> list[np.ndarray]:
        env = make_env(task)
        env.reset(seed=1)
        controller.reset(seed=0)
        actions = []
        for _ in range(8):
            actions.append(controller.act(physics_state(env)))
            env.step(actions[-1])
        return actions

    one = planner(task, horizon=0.5, iterations=2)
    first = drive(one)
    np.testing.assert_array_equal(drive(one), first)
    np.testing.assert_array_equal(drive(planner(task, 2, horizon=0.5, iterations=2)), first)


def test_swings_the_pole_up_and_holds_it() -> None:
    task = get_task("CartpoleSwingup-v0")
    env, controller = make_env(task), planner(task, horizon=1.2, iterations=1, step_sizes=6)
    env.reset(seed=0)
    rewards = [float(env.step(controller.act(physics_state(env)))[1]) for _ in range(140)]
    assert min(rewards[-20:]) > 0.99


@pytest.mark.parametrize(
    ("sensed", "message"),
    [
        (lambda s: np.where(np.arange(len(s)) == 1, np.nan, s), r"sensed\[1\]: .* finite"),
        (lambda s: s[:-1], "state: expected shape"),
    ],
)
def test_a_bad_state_is_refused_and_changes_nothing(
    cart: Task, sensed: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    controller = planner(cart)
    controller.act(cart_at(cart, 1.0))
    plan = controller.plan
    with pytest.raises(ValueError, match=message):
        controller.act(sensed(cart_at(cart, 1.0)))
    assert controller.plan is plan


def test_servos_beneath_the_actions_are_refused(cart: Task) -> None:
    task = replace(get_task("HalfCheetah-v5"), servo=PDServo(stiffness=1.0))
    with pytest.raises(ValueError, match=r"task\.servo: expected none"):
        planner(task)


def test_without_a_plan_there_is_nothing_to_predict(cart: Task) -> None:
    with pytest.raises(RuntimeError, match="call act first"):
        planner(cart).predict()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("horizon", 0.0),
        ("horizon", np.nan),
        ("iterations", 0),
        ("step_sizes", 0),
        ("tolerance", -1e-3),
        ("regularization", 0.0),
        ("regularization_factor", 1.0),
        ("regularization_min", 0.0),
        ("regularization_max", 1e-9),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{setting}: expected .* got"):
        ILQRConfig(**{setting: value})
