"""Frames against what the physics says is in them; repeated actions against repeating them."""

from __future__ import annotations

import gc
from contextlib import closing
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import View, env_spec, get_task, make_env, physics_state, pixel_spec
from mpc_robot.envs.pixels import CONTROL_STEPS, ActionRepeat, Pixels, scaled, split_view
from mpc_robot.errors import RenderingUnavailable, UnknownNameError

CARTPOLE = "CartpoleBalance-v0"


@pytest.fixture
def drawing() -> None:
    try:
        make_env(get_task(f"{CARTPOLE}+pixels")).close()
    except RenderingUnavailable as error:
        pytest.skip(str(error))


def cart(frame: np.ndarray) -> np.ndarray:
    """Where the cart, which is blue, or rather its shade, is: ``[64, 64]``."""
    red, _, blue = frame.astype(int).transpose(2, 0, 1)
    return blue - red > 40


def at(env: gym.Env[Any, Any], x: float, angle: float = 0.0) -> np.ndarray:
    """The frame with the cart at ``x``, m, and the pole at ``angle``, rad."""
    base: Any = env.unwrapped
    base.data.qpos[:] = x, angle
    return env.camera.frame(physics_state(env))  # type: ignore[attr-defined,no-any-return]


@pytest.mark.usefixtures("drawing")
def test_the_cart_is_seen_over_the_whole_rail_and_where_it_is() -> None:
    """A pinhole camera 5.5 m before the rail: 64 pixels see ``2 * 5.5 tan(22.5°)`` of it."""
    per_pixel = 2 * 5.5 * np.tan(np.deg2rad(22.5)) / 64
    with closing(make_env(get_task(f"{CARTPOLE}+pixels"))) as env:
        env.reset(seed=0)
        for x in (-1.8, -0.9, 0.0, 0.6, 1.8):
            seen = cart(at(env, x, np.pi))  # the pole hangs, and hides nothing above the rail
            columns = np.flatnonzero(seen.any(axis=0))
            middle = (columns[0] + columns[-1] + 1) / 2 - 32
            assert middle * per_pixel == pytest.approx(x, abs=per_pixel)
            assert len(columns) * per_pixel == pytest.approx(0.4, abs=2 * per_pixel)


@pytest.mark.usefixtures("drawing")
def test_what_a_reset_changes_in_the_model_is_seen() -> None:
    """As where a goal is kept in the model, or robots are drawn at random."""
    with closing(make_env(get_task(f"{CARTPOLE}+pixels"))) as env:
        before, _ = env.reset(seed=0)
        base: Any = env.unwrapped
        base.model.geom_rgba[:, :3] = 1.0, 0.0, 0.0
        after, _ = env.reset(seed=0)
        assert cart(before).any() and not cart(after).any()


@pytest.mark.usefixtures("drawing")
def test_a_lean_of_the_pole_by_a_degree_is_seen() -> None:
    with closing(make_env(get_task(f"{CARTPOLE}+pixels"))) as env:
        env.reset(seed=0)
        frames = [at(env, 0.0, np.deg2rad(angle)).astype(int) for angle in (-1.0, 0.0, 1.0)]
        assert min(np.abs(frames[i] - frames[i + 1]).max() for i in (0, 1)) > 10


@pytest.mark.usefixtures("drawing")
def test_frames_follow_from_seed_and_actions_alone() -> None:
    def film(name: str) -> tuple[list[np.ndarray], list[float]]:
        task, rng = get_task(name), np.random.default_rng(0)
        with closing(make_env(task)) as env:
            frames, rewards = [env.reset(seed=3)[0]], []
            for _ in range(8):
                frame, reward, *_ = env.step(rng.uniform(-1, 1, env.action_space.shape))
                frames.append(frame)
                rewards.append(float(reward))
        return frames, rewards

    for name in (CARTPOLE, "HalfCheetah-v5"):
        (first, earned), (again, _) = film(f"{name}+pixels"), film(f"{name}+pixels")
        assert all((one == other).all() for one, other in zip(first, again, strict=True))
        assert not (first[0] == first[-1]).all()
        assert earned == film(name)[1]


@pytest.mark.usefixtures("drawing")
def test_a_frame_shows_the_state_that_is_now() -> None:
    """What MuJoCo leaves behind after a step lags by one physics step; frames do not."""
    with closing(make_env(get_task(f"{CARTPOLE}+pixels"))) as env:
        env.reset(seed=0)
        env.unwrapped.data.qvel[:] = 4.0, 0.0  # type: ignore[attr-defined]
        frame, *_ = env.step(np.zeros(1))
        assert (frame == at(env, *env.unwrapped.data.qpos)).all()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("drawing")
def test_two_environments_and_a_film_do_not_disturb_each_other() -> None:
    task = get_task(f"{CARTPOLE}+pixels")
    with closing(make_env(task, "rgb_array")) as one, closing(make_env(task)) as other:
        one.reset(seed=0)
        other.reset(seed=1)
        before = at(one, 0.5)
        large: Any = one.render()
        assert large.shape == (480, 480, 3)
        at(other, -1.0)
        assert (at(one, 0.5) == before).all()
        again: Any = one.render()
        assert again.shape == large.shape and again.std() > 1


@pytest.mark.usefixtures("drawing")
def test_an_environment_that_nobody_closed_does_not_disturb_another() -> None:
    task = get_task(f"{CARTPOLE}+pixels")
    with closing(make_env(task)) as env:
        expected = env.reset(seed=1)[0]
    env = make_env(get_task("CartpoleSwingup-v0+pixels"))
    env.reset(seed=0)
    env = make_env(task)  # the other one is dropped, now that this one's context is current
    gc.collect()
    np.testing.assert_array_equal(env.reset(seed=1)[0], expected)
    env.close()
    env.close()  # once more is no mistake


@pytest.mark.usefixtures("drawing")
def test_a_frame_that_was_not_drawn_is_an_error() -> None:
    with closing(make_env(get_task(f"{CARTPOLE}+pixels"))) as env:
        env.reset(seed=0)
        state = physics_state(env)
        env.camera._gl.make_current()  # type: ignore[attr-defined]
        env.camera._context.free()  # type: ignore[attr-defined]
        with pytest.raises(RenderingUnavailable, match="could not be drawn"):
            env.camera.frame(state)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("drawing")
def test_the_last_frames_are_stacked_newest_last() -> None:
    with closing(make_env(get_task(f"{CARTPOLE}+pixels+stack3"))) as env:
        assert pixel_spec(env).frame_shape == (64, 64, 9)
        seen = [env.reset(seed=0)[0]]
        seen += [env.step(np.ones(1))[0] for _ in range(4)]
        newest = [observation[..., 6:] for observation in seen]
        assert env.observation_space.contains(seen[-1])
    for i, observation in enumerate(seen):
        for back in range(3):
            frame = observation[..., 6 - 3 * back : 9 - 3 * back]
            assert (frame == newest[max(i - back, 0)]).all()


@pytest.mark.usefixtures("drawing")
def test_the_spec_of_pixels() -> None:
    with closing(make_env(get_task(f"{CARTPOLE}+pixels+repeat4"))) as env:
        spec = pixel_spec(env)
        assert (spec.frame_shape, spec.action_dim) == ((64, 64, 3), 1)
        assert (spec.action_low, spec.action_high) == (-1.0, 1.0)
        assert (spec.dt, spec.max_episode_steps) == (0.08, 125)
        with pytest.raises(ValueError, match=r"expected a Box of shape \(D,\), got Box"):
            env_spec(env)
    with (
        closing(make_env(get_task(CARTPOLE))) as plain,
        pytest.raises(ValueError, match=r"expected frames \(H, W, C\) of uint8, got Box"),
    ):
        pixel_spec(plain)


class Countdown(gym.Env[Any, Any]):
    """The reward is the number of the step; the fifth ends it as told."""

    observation_space = gym.spaces.Box(0, 9, (1,))
    action_space = gym.spaces.Box(-1, 1, (1,))

    def __init__(self, terminates: bool) -> None:
        self.terminates = terminates

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.at = 0
        return np.zeros(1), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.at < 5, "stepped beyond the end"
        self.at += 1
        ended = self.at == 5
        now = np.array([float(self.at)])
        return now, self.at, ended and self.terminates, ended and not self.terminates, {}


@pytest.mark.parametrize("terminates", [True, False])
def test_an_action_is_repeated_to_the_end_of_the_episode_and_no_further(terminates: bool) -> None:
    env = ActionRepeat(Countdown(terminates), 3)
    env.reset()
    observation, reward, terminated, truncated, info = env.step(np.zeros(1))
    assert (observation, reward, terminated, truncated) == (3, 1 + 2 + 3, False, False)
    assert info[CONTROL_STEPS] == 3
    observation, reward, terminated, truncated, info = env.step(np.zeros(1))
    assert (observation, reward, terminated, truncated) == (5, 4 + 5, terminates, not terminates)
    assert info[CONTROL_STEPS] == 2


def test_repeating_is_stepping_with_the_same_action() -> None:
    plain, repeated = (make_env(get_task(CARTPOLE + word)) for word in ("", "+repeat2"))
    assert (env_spec(repeated).dt, env_spec(repeated).max_episode_steps) == (0.04, 250)
    plain.reset(seed=0)
    repeated.reset(seed=0)
    for push in (0.5, -1.0, 0.2):
        _, first, *_ = plain.step(np.array([push]))
        last, second, *_ = plain.step(np.array([push]))
        observation, reward, *_ = repeated.step(np.array([push]))
        assert (observation == last).all()
        assert reward == pytest.approx(float(first) + float(second))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Hopper-v5", ("Hopper-v5", View())),
        ("Hopper-v5+pixels", ("Hopper-v5", View(pixels=True))),
        ("a.b:c/D-v0+repeat12", ("a.b:c/D-v0", View(repeat=12))),
        ("D+pixels+stack3+repeat2", ("D", View(pixels=True, stack=3, repeat=2))),
    ],
)
def test_the_view_is_part_of_the_name(name: str, expected: tuple[str, View]) -> None:
    assert split_view(name) == expected


def test_a_task_seen_otherwise_is_the_same_task() -> None:
    plain, seen = get_task(CARTPOLE), get_task(f"{CARTPOLE}+pixels")
    assert seen.name == f"{CARTPOLE}+pixels" and seen.view == View(pixels=True)
    assert (seen.reward, seen.env_id) == (plain.reward, plain.env_id)
    with pytest.raises(UnknownNameError, match="nearest: CartpoleBalance-v0"):
        get_task("CartpoleBalanc-v0+pixels")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("+pixel", r"task: expected a name, then \+pixels.* got 'pixel'"),
        ("+pixels2", "got 'pixels2'"),
        ("+repeat", "got 'repeat'"),
        ("+", "got ''"),
        ("+pixels+pixels", "got 'pixels'"),
        ("+repeat0", "repeat: expected at least 1 control step, got 0"),
        ("+stack2", "stack: expected 1 without pixels, got 2"),
    ],
)
def test_a_view_that_makes_no_sense(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_task(CARTPOLE + name)


def test_pixels_are_for_mujoco_and_for_frames_only() -> None:
    with pytest.raises(TypeError, match="pixels: expected a MuJoCo environment or one of frames"):
        make_env(get_task("Pendulum-v1+pixels"))


def test_frames_are_scaled_by_the_means_of_areas() -> None:
    """Three pixels to two: each takes a whole one and half of the one between."""
    frame = np.zeros((3, 3, 3), dtype=np.uint8)
    frame[:, :, 0] = [[30, 60, 90]] * 3
    frame[2, :, 1] = 90
    small = scaled(frame, 2)
    assert small[..., 0].tolist() == [[40, 80], [40, 80]]  # (30 + 60 / 2) / 1.5
    assert small[..., 1].tolist() == [[0, 0], [60, 60]]
    assert small[..., 2].max() == 0
    rng = np.random.default_rng(0)
    large = rng.integers(256, size=(8, 12, 3)).astype(np.uint8)
    blocks = large.reshape(4, 2, 4, 3, 3).mean(axis=(1, 3))
    np.testing.assert_array_equal(scaled(large, 4), blocks.round().astype(np.uint8))
    np.testing.assert_array_equal(scaled(large[:, :8], 8), large[:, :8])


class Filmed(gym.Env[Any, Any]):
    """The observation is a picture of 96 x 96 pixels, all of the shade of the step's number."""

    observation_space = gym.spaces.Box(0, 255, (96, 96, 3), np.uint8)
    action_space = gym.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.at = 0
        return np.zeros((96, 96, 3), np.uint8), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.at += 1
        return np.full((96, 96, 3), self.at, np.uint8), 1.0, False, False, {}


def test_an_environment_of_frames_is_seen_in_64_pixels_and_stacked() -> None:
    with closing(Pixels(Filmed(), stack=2)) as env:
        first, _ = env.reset()
        second, *_ = env.step(np.zeros(1))
    assert env.observation_space.contains(second) and first.max() == 0
    assert second.shape == (64, 64, 6) and second.dtype == np.uint8
    assert (second == np.repeat([0, 1], 3)).all()


def test_the_racing_car_is_seen_in_64_pixels() -> None:
    pytest.importorskip("Box2D")
    with closing(make_env(get_task("CarRacing-v3"))) as env:
        large, _ = env.reset(seed=0)
    with closing(make_env(get_task("CarRacing-v3+pixels+repeat4"))) as env:
        spec, (small, _) = pixel_spec(env), env.reset(seed=0)
    assert (spec.frame_shape, spec.action_dim, spec.max_episode_steps) == ((64, 64, 3), 3, 250)
    assert spec.dt == pytest.approx(0.08)
    assert np.abs(small.mean(axis=(0, 1)) - large.mean(axis=(0, 1))).max() < 0.5


def test_without_opengl_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    with pytest.raises(RenderingUnavailable, match=r"by nonsense .*apt-get install libegl1"):
        make_env(get_task(f"{CARTPOLE}+pixels"))


@pytest.mark.usefixtures("drawing")
def test_a_simulator_does_not_care_how_a_task_is_seen_but_acts_at_each_step() -> None:
    assert Simulator(get_task(f"{CARTPOLE}+pixels")).frame_skip == 2
    with pytest.raises(ValueError, match="task: expected an action for each control step"):
        Simulator(get_task(f"{CARTPOLE}+repeat2"))
