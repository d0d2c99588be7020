"""The view shows what MuJoCo has, its buttons do what they say, and it changes nothing."""

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import gymnasium as gym
import msgspec
import numpy as np
import pytest
import viser
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from mpc_robot.controllers import (
    MPC,
    ActionSpline,
    Controller,
    ICEMConfig,
    RandomController,
    make_optimizer,
)
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import get_task, make_env
from mpc_robot.errors import UnknownNameError
from mpc_robot.training import pace, viewer
from mpc_robot.training.evaluation import evaluate
from mpc_robot.training.pace import Pace
from mpc_robot.training.plan_video import Tracer
from mpc_robot.training.seeding import derive_seed
from mpc_robot.training.viewer import (
    MOST_CANDIDATES,
    PLANNING,
    RETURN,
    REWARD,
    STEP,
    Viewer,
    serving,
    watch,
)

CARTPOLE = get_task("CartpoleBalance-v0")  # 50 Hz
HORIZON = 5
AT_MOST = "as fast as planning allows"


def planner() -> MPC:
    config = ICEMConfig(num_samples=16, num_elites=4, iterations=1)
    spline = ActionSpline(HORIZON, [-1.0], [1.0])
    return MPC(Simulator(CARTPOLE, threads=1), make_optimizer(spline, config))


def at_random(actions: int = 1) -> RandomController:
    return RandomController(-np.ones(actions), np.ones(actions))


def url(server: viser.ViserServer) -> str:
    return f"127.0.0.1:{server.get_port()}"


class Scripted:
    """Acts as another controller does; before chosen decisions something happens."""

    def __init__(self, controller: Controller, then: dict[int, Callable[[], None]]) -> None:
        self.controller, self.then = controller, then
        self.observes = controller.observes
        self.resets = self.decisions = 0

    @property
    def plan(self) -> Any:
        return self.controller.plan

    def reset(self, seed: int) -> None:
        self.resets += 1
        self.controller.reset(seed)

    def act(self, sensed: Any) -> Any:
        self.then.get(self.decisions, lambda: None)()
        self.decisions += 1
        return self.controller.act(sensed)


class Watched:
    """A viewer of a random cart-pole that is not bound to real time."""

    def __init__(self, server: viser.ViserServer, env: gym.Env[Any, Any]) -> None:
        self.controller = Scripted(at_random(), {})
        self.viewer = Viewer(server, Tracer(env), self.controller, None)
        self.panel = self.viewer.panel
        self.panel.speed.value = AT_MOST

    def read(self, name: str) -> str:
        return self.panel.readings[name].value

    def press(self, button: Any) -> Callable[[], None]:
        return lambda: setattr(button, "value", True)


@pytest.fixture
def watched(server: viser.ViserServer) -> Iterator[Watched]:
    with closing(make_env(CARTPOLE)) as env:
        yield Watched(server, env)


@pytest.fixture
def when_it_waits(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Do these things in turn instead of waiting; the list of how long, s, it would have waited."""

    def plan(*things: Callable[[], Any]) -> list[Any]:
        todo, waits = list(things), []

        def wait(timeout: float | None) -> None:
            waits.append(timeout)
            todo.pop(0)()

        monkeypatch.setattr(watched.viewer._pace._changed, "wait", wait)
        return waits

    return plan


def test_readings_are_those_of_the_episode(watched: Watched) -> None:
    before = watched.viewer.episode(0, 1)
    assert float(watched.read(REWARD)) == pytest.approx(before.rewards[0], rel=1e-3)
    episode = watched.viewer.episode(0, 7)
    assert watched.read(STEP) == "7"
    assert float(watched.read(REWARD)) == pytest.approx(episode.rewards[-1], rel=1e-3)
    assert float(watched.read(RETURN)) == pytest.approx(episode.total, rel=1e-5)


def test_planning_time_is_the_median_of_the_decisions_of_an_episode(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def take(seconds: float) -> Callable[[], None]:
        def plan() -> None:
            nonlocal now
            now += seconds

        return plan

    monkeypatch.setattr(viewer, "perf_counter", lambda: now)
    times = [0.01, 0.2, 0.03, 0.5, 0.5]
    watched.controller.then = {i: take(seconds) for i, seconds in enumerate(times)}
    watched.viewer.episode(0, 3)
    assert watched.read(PLANNING) == "30.0 ms"
    watched.viewer.episode(0, 2)
    assert watched.read(PLANNING) == "500.0 ms"


def test_pause_single_steps_and_resume(
    watched: Watched, when_it_waits: Callable[..., list[Any]]
) -> None:
    panel, seen = watched.panel, []

    def look(then: Callable[[], None]) -> Callable[[], None]:
        return lambda: (seen.append(watched.read(STEP)), then())[1]

    watched.controller.then = {2: watched.press(panel.paused)}
    resume = lambda: setattr(panel.paused, "value", False)  # noqa: E731
    step = watched.press(panel.step)
    waits = when_it_waits(look(step), look(step), look(resume))
    episode = watched.viewer.episode(0, 8)
    assert len(episode.rewards) == 8
    assert seen == ["2", "3", "4"] and waits == [None, None, None]


def test_a_single_step_stops_what_runs(
    watched: Watched, when_it_waits: Callable[..., list[Any]]
) -> None:
    panel = watched.panel
    watched.controller.then = {3: watched.press(panel.step)}
    waits = when_it_waits(lambda: setattr(panel.paused, "value", False))
    watched.viewer.episode(0, 6)
    assert waits == [None], "one step was let pass, the one after it was not"
    assert not panel.paused.value


def test_restart_begins_the_same_episode_again(watched: Watched) -> None:
    plain = watched.viewer.episode(3, 5)
    watched.controller.then = {8: watched.press(watched.panel.restart)}
    again = watched.viewer.episode(3, 5)
    assert watched.controller.resets == 3 and watched.controller.decisions == 5 + 4 + 5
    np.testing.assert_array_equal(again.actions, plain.actions)
    np.testing.assert_array_equal(again.observations, plain.observations)


@pytest.mark.parametrize(("speed", "factor"), viewer.SPEEDS.items())
def test_speed(
    watched: Watched,
    when_it_waits: Callable[..., list[Any]],
    monkeypatch: pytest.MonkeyPatch,
    speed: str,
    factor: float,
) -> None:
    """The control period is 0.02 s; no time passes but while waiting."""
    now = 0.0

    def pass_by() -> None:
        nonlocal now
        now += 0.02 / factor

    monkeypatch.setattr(pace, "monotonic", lambda: now)
    waits = when_it_waits(pass_by, pass_by, pass_by)
    watched.panel.speed.value = speed
    watched.viewer.episode(0, 4)
    expected = [] if factor == np.inf else [0.02 / factor] * 3
    assert waits == pytest.approx(expected)


def test_real_time_is_what_it_begins_with(server: viser.ViserServer) -> None:
    with closing(make_env(CARTPOLE)) as env:
        panel = Viewer(server, Tracer(env), at_random(), None).panel
    assert viewer.SPEEDS[panel.speed.value] == 1.0 and not panel.paused.value


# Whole episodes -----------------------------------------------------------------------------------


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> list[Viewer]:
    """Viewers that are made are collected, and go as fast as they can."""
    made: list[Viewer] = []

    def make(*args: Any) -> Viewer:
        made.append(Viewer(*args))
        made[-1].panel.speed.value = AT_MOST
        return made[-1]

    monkeypatch.setattr(viewer, "Viewer", make)
    return made


@pytest.mark.usefixtures("fast")
def test_watching_changes_nothing() -> None:
    controller, urls = planner(), []
    search = controller.optimizer
    plain = evaluate(CARTPOLE, controller, 2, seed=4, max_steps=6)
    seen = watch(CARTPOLE, controller, 2, 4, max_steps=6, port=0, tell=urls.append)
    assert controller.optimizer is search and len(urls) == 1
    for one, two in zip(plain.episodes, seen.episodes, strict=True):
        np.testing.assert_array_equal(one.actions, two.actions)
        np.testing.assert_array_equal(one.observations, two.observations)
        np.testing.assert_array_equal(one.rewards, two.rewards)
        assert one.truncated is two.truncated


def test_plans_are_drawn_from_where_the_robot_is_to_where_it_goes(fast: list[Viewer]) -> None:
    """The first piece of the last plan is the last step that was taken."""
    seen = watch(CARTPOLE, planner(), 1, 0, max_steps=4, trace="cart", port=0, tell=print)
    walked = []
    with closing(make_env(CARTPOLE)) as env:
        base: Any = env.unwrapped
        env.reset(seed=derive_seed(derive_seed(0, 0), 0))
        for action in seen.episodes[0].actions:
            env.step(action)
            walked.append(np.array(base.data.body("cart").xipos))
    stage = fast[0].stage
    assert stage.plan.points.shape == (HORIZON, 2, 3)
    np.testing.assert_allclose(stage.plan.points[0], walked[-2:], atol=1e-6)
    fan = stage.candidates.points.reshape(MOST_CANDIDATES, HORIZON, 2, 3)
    np.testing.assert_allclose(fan[:, 0, 0], walked[-2:-1] * MOST_CANDIDATES, atol=1e-6)
    assert np.ptp(fan[:, -1, 1, 0]) > 1e-4, "candidates differ"


def test_of_another_planner_only_its_plan_is_drawn(fast: list[Viewer]) -> None:
    controller = Scripted(planner(), {})
    watch(CARTPOLE, controller, 1, 0, max_steps=2, port=0, tell=print)
    assert fast[0].stage.plan.visible and not fast[0].stage.candidates.visible


def test_of_a_controller_without_plans_the_robot_is_shown(fast: list[Viewer]) -> None:
    watch(CARTPOLE, at_random(), 1, 0, max_steps=3, port=0, tell=print)
    assert not fast[0].stage.plan.visible and fast[0].panel.readings[STEP].value == "3"


# The server ---------------------------------------------------------------------------------------


def get(address: str) -> tuple[int, str]:
    with urllib.request.urlopen(f"http://{address}", timeout=30) as response:
        return response.status, response.read().decode()


@contextmanager
def browser(address: str) -> Iterator[ClientConnection]:
    """What a browser says to the server until it shows the scene."""
    protocol = Subprotocol(f"viser-v{viser.__version__}")
    camera = {"type": "ViewerCameraMessage", "fov": 1.0, "near": 0.1, "far": 10.0}
    camera |= {"image_height": 100, "image_width": 100, "wxyz": (1.0, 0.0, 0.0, 0.0)}
    for vector in ("position", "look_at", "up_direction"):
        camera[vector] = (0.0, 0.0, 1.0)
    with connect(f"ws://{address}", subprotocols=[protocol], max_size=None) as connection:
        connection.send(msgspec.msgpack.encode(camera))
        yield connection


def test_the_page_is_served_and_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(0) as server:
        assert server.get_host() == "127.0.0.1"
        status, page = get(url(server))
    assert status == 200 and "<title>Viser</title>" in page
    assert capsys.readouterr() == ("", "")


def test_two_views_do_not_get_in_each_others_way(server: viser.ViserServer) -> None:
    with serving(server.get_port()) as other:
        assert other.get_port() != server.get_port()
        assert get(url(other))[0] == get(url(server))[0] == 200


@pytest.mark.parametrize("stop", [None, KeyboardInterrupt])
def test_the_server_ends_with_the_episodes_and_with_ctrl_c(
    stop: type[BaseException] | None, fast: list[Viewer]
) -> None:
    urls: list[str] = []

    def interrupt() -> None:
        assert get(urls[0].removeprefix("http://"))[0] == 200
        if stop is not None:
            raise stop

    controller = Scripted(at_random(), {1: interrupt})
    try:
        watch(CARTPOLE, controller, 1, 0, max_steps=3, port=0, tell=urls.append)
    except KeyboardInterrupt:
        assert stop is KeyboardInterrupt
    assert controller.decisions == (3 if stop is None else 1)
    with pytest.raises(urllib.error.URLError):
        get(urls[0].removeprefix("http://"))


def test_the_view_stays_while_a_browser_looks_and_can_begin_anew(
    fast: list[Viewer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The browser comes during the first episode; once that is over it presses, then leaves."""
    urls: list[str] = []
    opened: list[Any] = []

    def come() -> None:
        opened.append(browser(urls[0].removeprefix("http://")))
        opened[0].__enter__()
        while not fast[0]._server.get_clients():
            time.sleep(0.01)

    again, looks = Pace.again, iter(["press", "leave"])

    def look(self: Pace, watched: Callable[[], bool]) -> bool:
        assert watched()
        if next(looks) == "press":
            fast[0].panel.restart.value = True
        else:
            opened[0].__exit__(None, None, None)
        return again(self, watched)

    monkeypatch.setattr(Pace, "again", look)
    controller = Scripted(at_random(), {1: come})
    seen = watch(CARTPOLE, controller, 1, 0, max_steps=3, port=0, tell=urls.append)
    assert controller.resets == 2 and len(seen.episodes) == 1


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"task": get_task("Pendulum-v1")}, ValueError,
         "view: expected a task simulated by MuJoCo, got 'Pendulum-v1'"),
        ({"port": 80}, ValueError, "port: expected 0, or 1024 to 65535, got 80"),
        ({"port": 65536}, ValueError, "port: expected 0, or 1024 to 65535, got 65536"),
        ({"trace": "pol"}, UnknownNameError, "unknown trace 'pol'; nearest: pole"),
        ({"episodes": 0}, ValueError, "episodes: expected at least 1, got 0"),
        ({"max_steps": 0}, ValueError, "max_steps: expected at least 1, got 0"),
    ],
)  # fmt: skip
def test_what_can_not_be_watched(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    told: list[str] = []
    usual = {"task": CARTPOLE, "episodes": 1, "seed": 0, "max_steps": 3, "port": 0}
    with pytest.raises(error, match=message):
        watch(controller=at_random(), tell=told.append, **{**usual, **settings})
    assert told == []
