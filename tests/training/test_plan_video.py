"""The film of plans shows the paths that the environment itself would take."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import imageio.v3 as imageio
import mujoco
import numpy as np
import pytest
import torch
from torch import Tensor

from mpc_robot.controllers import (
    MPC,
    ActionSpline,
    ICEMConfig,
    PredictiveSampling,
    PredictiveSamplingConfig,
    RandomController,
    make_optimizer,
)
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import PDServo, get_task, make_env, physics_state
from mpc_robot.errors import RenderingUnavailable, UnknownNameError
from mpc_robot.training.evaluation import evaluate
from mpc_robot.training.plan_video import (
    PLAN,
    Camera,
    Recorder,
    TracedPoint,
    Tracer,
    film_plans,
    traced_point,
)
from mpc_robot.training.video import picture, renderable_env

CARTPOLE = get_task("CartpoleBalance-v0")  # 50 Hz, contacts off, a camera that stays
NOWHERE = np.empty((0, 2, 3))


@pytest.fixture
def stage() -> Iterator[gym.Env[Any, Any]]:
    """A cart-pole that renders."""
    try:
        env = renderable_env(CARTPOLE)
    except RenderingUnavailable as error:
        pytest.skip(str(error))
    env.reset(seed=0)
    yield env
    env.close()


def planner(horizon: int = 5) -> MPC:
    config = ICEMConfig(num_samples=8, num_elites=4)
    spline = ActionSpline(horizon, [-1.0], [1.0])
    return MPC(Simulator(CARTPOLE, threads=1), make_optimizer(spline, config))


def test_the_recorder_overhears_every_score_and_changes_nothing() -> None:
    spline = ActionSpline(3, [-1.0], [1.0])
    search = PredictiveSampling(spline, PredictiveSamplingConfig(num_samples=16, noise_std=0.5))
    asked: list[Tensor] = []

    def score(actions: Tensor) -> Tensor:
        asked.append(actions)
        return -(actions - 0.3).square().sum((1, 2))

    recorder = Recorder(search)
    plans = [
        one.optimize(score, one.initial(), torch.Generator().manual_seed(4))
        for one in (search, recorder)
    ]
    assert torch.equal(plans[0].actions, plans[1].actions)
    ((overheard, scores),) = recorder.asked
    assert torch.equal(overheard, asked[1]) and torch.equal(scores, score(overheard))


def test_the_fan_spreads_from_the_worst_to_the_best() -> None:
    recorder = Recorder(PredictiveSampling(ActionSpline(1, [-1.0], [1.0])))
    values = torch.tensor([3.0, torch.nan, 9.0, 1.0, 7.0])
    recorder.asked = [(values[:2, None, None], values[:2]), (values[2:, None, None], values[2:])]
    assert recorder.spread(40).flatten()[1:].tolist() == [1.0, 3.0, 7.0, 9.0]
    assert recorder.spread(3).flatten()[1:].tolist() == [3.0, 9.0]
    assert recorder.spread(40).flatten()[0].isnan()


def test_the_recorder_keeps_step_with_a_plan_that_is_followed() -> None:
    recorder = Recorder(PredictiveSampling(ActionSpline(3, [-1.0], [1.0])))
    actions, scores = torch.arange(6.0).reshape(2, 3, 1), torch.tensor([1.0, 2.0])
    recorder.asked = [(actions, scores)]
    recorder.shift(recorder.initial())
    assert recorder.spread(2).flatten(1).tolist() == [[1.0, 2.0, 2.0], [4.0, 5.0, 5.0]]


@pytest.mark.parametrize(
    ("task", "servo", "name", "field"),
    [
        ("HalfCheetah-v5", None, "torso", "xipos"),
        ("InvertedDoublePendulum-v5", None, "tip", "site_xpos"),
        ("Hopper-v5", None, "foot", "xipos"),
        ("Hopper-v5", PDServo(2.0, 0.1), "foot", "xipos"),
    ],
)
def test_paths_are_those_of_the_environment(
    task: str, servo: PDServo | None, name: str, field: str
) -> None:
    env = make_env(replace(get_task(task), servo=servo))
    base: Any = env.unwrapped
    env.reset(seed=1)
    rng = np.random.default_rng(2)
    for _ in range(3):
        env.step(rng.uniform(-1, 1, env.action_space.shape))
    actions = rng.uniform(-1, 1, (2, 6, *env.action_space.shape))
    before = physics_state(env)
    paths = Tracer(env, name).paths(actions)
    assert (physics_state(env) == before).all()
    kind = base.data.site if field == "site_xpos" else base.data.body
    position = lambda: np.array(getattr(kind(name), field.removeprefix("site_")))  # noqa: E731
    walked = [position()]
    for action in actions[1]:
        env.step(action)
        walked.append(position())
    np.testing.assert_array_equal(paths[1], walked)


def test_a_path_that_diverges_ends_where_it_does() -> None:
    env = make_env(CARTPOLE)
    env.reset(seed=0)
    actions = np.zeros((2, 4, 1))
    actions[1, 2:] = np.nan
    fine, broken = Tracer(env).paths(actions)
    np.testing.assert_array_equal(broken[:3], fine[:3])
    assert (broken[3:] == broken[3]).all()


FOLLOWED = {
    "CartpoleSwingup-v0": "tip",
    "CartpoleBalance-v0": "tip",
    "ReacherTwoLink-v0": "tip",
    "InvertedDoublePendulum-v5": "tip",
    "Swimmer-v5": "torso",
    "Hopper-v5": "torso",
    "Walker2d-v5": "torso",
    "HalfCheetah-v5": "torso",
    "Ant-v5": "torso",
    "Humanoid-v5": "torso",
    "InvertedPendulum-v5": "pole",
    "Reacher-v5": "fingertip",
    "Pusher-v5": "tips_arm",
}


@pytest.mark.parametrize(("name", "followed"), FOLLOWED.items())
def test_a_task_is_followed_by_its_tip_or_torso(name: str, followed: str) -> None:
    model = cast("Any", make_env(get_task(name)).unwrapped).model
    point = traced_point(model)
    thing = model.site if point.field == "site_xpos" else model.body
    assert thing(point.index).name == followed


def test_a_robot_without_usual_names() -> None:
    box = '<geom type="box" size="1 1 1"/>'
    arm = f'<body name="a"><joint/>{box}<body name="b"><joint/>{box}</body></body>'
    fixed = f'<body name="c">{box}</body>'
    flying = f'<body name="d"><freejoint/>{box}<body name="e"><joint/>{box}</body></body>'
    bodies = {"b": arm + fixed, "d": arm + flying}
    for name, xml in bodies.items():
        model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{xml}</worldbody></mujoco>")
        assert traced_point(model) == TracedPoint("xipos", model.body(name).id)
        with pytest.raises(UnknownNameError, match="unknown trace 'f'; known: a, b"):
            traced_point(model, "f")


def test_a_picture_without_paths_is_the_environments_own(stage: gym.Env[Any, Any]) -> None:
    expected = picture(stage)
    beyond = np.full((3, 3), np.nan)
    for plan in (np.array([[0.0, 0.0, 50.0], [0.1, 0.0, 50.0]]), beyond):
        np.testing.assert_array_equal(Camera(stage).picture(NOWHERE, plan), expected)


def pixel(point: tuple[float, float, float]) -> tuple[int, int]:
    """Row and column of a point, by the camera of cartpole.xml as a pinhole: 45 degrees, 480²."""
    up = np.array([0.0, 0.09, 1.0]) / np.hypot(0.09, 1.0)
    x, y, z = np.array(point) - (0.0, -5.5, 1.45)
    depth = y * up[2] - z * up[1]  # along the line of sight
    scale = 240 / np.tan(np.deg2rad(22.5)) / depth
    return round(240 - scale * (y * up[1] + z * up[2])), round(240 + scale * x)


def test_paths_are_drawn_where_they_are(stage: gym.Env[Any, Any]) -> None:
    plan = np.array([[-1.0, -1.0, 2.0], [1.0, -1.0, 2.0], [1.0, -1.0, 0.5]])
    candidate = plan - [0.0, 0.0, 0.3]
    frame = Camera(stage).picture(candidate[None], plan).astype(int)
    plain = picture(stage)
    for middle in ((0.0, -1.0, 2.0), (1.0, -1.0, 1.2)):
        red, green, blue = frame[pixel(middle)]
        assert green > 1.3 * red and green > 1.3 * blue and PLAN[1] == max(PLAN[:3])
    row, column = pixel((0.0, -1.0, 1.7))
    near = slice(row - 2, row + 3), column
    assert np.abs(frame[near] - plain[near]).sum(-1).max() > 60
    far = pixel((0.0, -1.0, 2.4))
    assert (frame[far] == plain[far]).all()


def test_filming_plans_changes_nothing_of_the_episode(
    stage: gym.Env[Any, Any], tmp_path: Path
) -> None:
    controller, path = planner(), tmp_path / "new" / "plans.mp4"
    search = controller.optimizer
    one, two = (
        evaluate(CARTPOLE, controller, 1, 0, max_steps=9, plan_video=video)
        for video in (None, path)
    )
    assert (one.episodes[0].actions == two.episodes[0].actions).all()
    assert controller.optimizer is search
    frames = imageio.imread(path, plugin="FFMPEG")
    assert len(frames) == 5 and imageio.immeta(path, plugin="FFMPEG")["fps"] == 25


class Intends:
    """A controller that is no MPC, but has a plan."""

    observes = "state"

    def __init__(self, plan: Any) -> None:
        self.plan = plan

    def reset(self, seed: int) -> None:
        """It has no memory."""

    def act(self, sensed: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.zeros(1)


def test_of_any_other_controller_its_plan_is_filmed(
    stage: gym.Env[Any, Any], tmp_path: Path
) -> None:
    """The pole falls left when the cart is pushed right for half a second."""
    plan = PredictiveSampling(ActionSpline(25, [-1.0], [1.0])).initial()
    push = type(plan)(torch.ones(25, 1), plan.knots, plan.std, plan.elites)
    with film_plans(stage, Intends(push), tmp_path / "p.mp4") as filmed:
        filmed.act(physics_state(stage))
    difference = np.abs(
        imageio.imread(tmp_path / "p.mp4", plugin="FFMPEG")[0].astype(int) - picture(stage)
    ).sum(-1)
    assert (difference > 150).sum() > 50


def test_nothing_to_film(stage: gym.Env[Any, Any], tmp_path: Path) -> None:
    low, high = np.array([-1.0]), np.array([1.0])
    path = tmp_path / "p.mp4"
    with pytest.raises(ValueError, match="expected a controller that plans, got <mpc_robot"):
        evaluate(CARTPOLE, RandomController(low, high), 1, 0, plan_video=path)
    pendulum, controller = make_env(get_task("Pendulum-v1")), RandomController(low, high)
    with (
        pytest.raises(
            ValueError, match=r"plan_video: expected an environment on MuJoCo, got .*Pendulum-v1"
        ),
        film_plans(pendulum, controller, path),
    ):
        pass
    assert not path.exists()
