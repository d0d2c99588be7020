"""``mpc-robot run``: every planner in every simulator, filmed and unfilmed."""

import json
import re
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import pytest

from mpc_robot.agents.value import ValueFunction
from mpc_robot.cli import episodes as module
from mpc_robot.cli import main
from mpc_robot.controllers import CEM, ICEM, MPC, MPPI, ICEMConfig
from mpc_robot.controllers.simulator_planner import PlannerConfig
from mpc_robot.controllers.simulator_presets import PRESETS
from mpc_robot.dynamics.ensemble import ProbabilisticEnsemble
from mpc_robot.dynamics.simulator import Physics
from mpc_robot.envs import TASKS, PDServo
from mpc_robot.errors import RenderingUnavailable
from mpc_robot.training.trust_plan import planning_steps
from mpc_robot.training.video import renderable_env
from mpc_robot.training.viewer import Viewer

GOOD, FAILED, WRONG_WORDS = 0, 1, 2
RUN = ["run", "--task", "CartpoleBalance-v0", "--steps", "3"]
FEW = ["--controller", "icem", "--config.num-samples", "4", "--config.num-elites", "2"]
LEARN = ["train", "--agent", "pets", "--task", "InvertedPendulum-v5", "--steps", "1"]
LEARN += ["--config.warmup-steps", "100000", "--eval-episodes", "1"]


Refused = Callable[[list[str], str], int]


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refused:
    """Run in an empty folder what complains so and leaves nothing there; its exit code."""

    def run(words: list[str], message: str) -> int:
        monkeypatch.chdir(tmp_path)
        code = main([*RUN, *words])
        assert message in capsys.readouterr().err
        assert not list(tmp_path.iterdir())
        return code

    return run


@pytest.fixture
def rendering() -> None:
    try:
        renderable_env(TASKS["CartpoleBalance-v0"]).close()
    except RenderingUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("task", TASKS)
def test_run_every_task_in_its_simulator(task: str, said: Callable[[], dict[str, Any]]) -> None:
    assert main(["run", "--task", task, "--steps", "2", *FEW, "--json"]) == GOOD
    outcome = said()
    assert outcome["lengths"] == [2] and outcome["dynamics"] == "simulator"
    assert outcome["video"] is outcome["plan_video"] is None


@pytest.mark.usefixtures("rendering")
def test_an_episode_is_filmed_plainly_and_with_its_plans(
    tmp_path: Path, said: Callable[[], dict[str, Any]]
) -> None:
    words = ["run", "--task", "HalfCheetah-v5", "--steps", "4", *FEW, "--json"]
    assert main(words) == GOOD
    unfilmed = said()["returns"]
    files = {"video": str(tmp_path / "v.mp4"), "plan_video": str(tmp_path / "p.mp4")}
    words += ["--video", files["video"], "--plan-video", files["plan_video"], "--trace", "ffoot"]
    assert main(words) == GOOD
    assert said().items() >= {**files, "returns": unfilmed}.items()
    frames = {name: len(imageio.imread(file, plugin="FFMPEG")) for name, file in files.items()}
    assert frames == {"video": 5, "plan_video": 4}  # nothing is planned after the last step


def test_an_episode_is_viewed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody looks; the page is there all the same until the episode is over."""
    words, pages = [*RUN, *FEW, "--seed", "3", "--json"], []
    assert main(words) == GOOD
    plain = json.loads(capsys.readouterr().out)
    decide = Viewer._decided

    def decided(self: Viewer) -> None:
        urls = re.findall(r"http://127\.0\.0\.1:\d+", capsys.readouterr().err)
        pages.extend(urllib.request.urlopen(url).status for url in urls)
        decide(self)

    monkeypatch.setattr(Viewer, "_decided", decided)
    assert main([*words, "--view", "--port", "0", "--trace", "pole"]) == GOOD
    printed = capsys.readouterr()
    viewed = json.loads(printed.out)
    assert len(printed.out.splitlines()) == 1 and pages == [200]
    assert {**viewed, "wall_s": None} == {**plain, "wall_s": None}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--view", "--video", "v.mp4"], WRONG_WORDS, "view: expected no video"),
        (["--view", "--plan-video", "v.mp4"], WRONG_WORDS, "view: expected no video"),
        (["--view", "--port", "80"], FAILED, "port: expected 0, or 1024 to 65535, got 80"),
        (["--view", "--trace", "pol"], WRONG_WORDS, "unknown trace 'pol'; nearest: pole"),
        (
            ["--task", "Pendulum-v1", "--controller", "random", "--view"],
            FAILED,
            "view: expected a task simulated by MuJoCo, got 'Pendulum-v1'",
        ),
    ],
)
def test_what_can_not_be_viewed(
    words: list[str], code: int, message: str, refused: Refused
) -> None:
    assert refused(words, message) == code


def test_a_view_without_its_extra(monkeypatch: pytest.MonkeyPatch, refused: Refused) -> None:
    monkeypatch.delitem(sys.modules, "mpc_robot.training.viewer")
    monkeypatch.setitem(sys.modules, "viser", None)
    message = "view: expected viser, got import of viser halted; None in sys.modules; "
    assert refused(["--view"], message + "pip install 'mpc-robot[viz]'") == FAILED


@pytest.mark.usefixtures("rendering")
def test_plans_made_in_a_learned_model_are_filmed(tmp_path: Path) -> None:
    assert main([*LEARN, "--out", str(tmp_path / "run")]) == GOOD
    words = ["run", "--task", "InvertedPendulum-v5", "--dynamics", str(tmp_path / "run")]
    words += ["--controller", "gradient", "--config.iterations", "2"]
    assert main([*words, "--steps", "2", "--plan-video", str(tmp_path / "p.mp4")]) == GOOD
    assert len(imageio.imread(tmp_path / "p.mp4", plugin="FFMPEG")) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--controller", "random", "--plan-video", "p.mp4"],
            "a controller that plans, got random",
        ),
        (["--trace", "pole"], "trace: expected a plan_video or view to draw it in, got none"),
        (["--plan-video", "p.mp4", "--trace", "pol"], "unknown trace 'pol'; nearest: pole"),
    ],
)
@pytest.mark.usefixtures("rendering")
def test_plans_that_can_not_be_filmed(words: list[str], message: str, refused: Refused) -> None:
    assert refused(words, message) == WRONG_WORDS


@pytest.mark.parametrize(
    "controller",
    ["cem", "icem", "mppi", "predictive_sampling", "predictive-sampling", "random_shooting"],
)
def test_run_every_optimizer(controller: str, said: Callable[[], dict[str, Any]]) -> None:
    words = [*RUN, "--controller", controller, "--horizon", "0.2", "--json"]
    assert main(words) == GOOD
    outcome = said()
    assert outcome["lengths"] == [3] and outcome["dynamics"] == "simulator"
    assert outcome["return_mean"] == pytest.approx(sum(outcome["returns"]))


def test_run_by_derivatives(tmp_path: Path, said: Callable[[], dict[str, Any]]) -> None:
    """From upright, ten steps of balance are worth all but what the start takes off."""
    words = ["run", "--task", "CartpoleBalance-v0", "--steps", "10", "--json"]
    assert main([*words, "--controller", "ilqr", "--config.horizon", "0.4"]) == GOOD
    outcome = said()
    assert outcome["return_mean"] == pytest.approx(10.0, abs=0.2)
    assert (outcome["controller"], outcome["dynamics"], outcome["horizon"]) == (
        "ilqr",
        "simulator",
        0.4,
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--controller", "ilqr", "--dynamics", "x"], "Expected one of ('simulator',)"),
        (["--controller", "ilqr", "--knots", "3"], "Unrecognized options: --knots"),
        (["--controller", "random", "--horizon", "1"], "Unrecognized options: --horizon"),
        (["--controller", "gradient"], "gradient needs a run with a learned model, got simulator"),
    ],
)
def test_a_controller_that_lacks_what_is_asked_of_it(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*RUN, *words]) == WRONG_WORDS
    assert message in capsys.readouterr().err


def test_run_at_random_and_for_several_episodes(said: Callable[[], dict[str, Any]]) -> None:
    assert main([*RUN, "--controller", "random", "--episodes", "2", "--json"]) == GOOD
    outcome = said()
    assert outcome["lengths"] == [3, 3] and outcome["dynamics"] is None


def test_a_planner_that_looks_ahead_beats_chance(said: Callable[[], dict[str, Any]]) -> None:
    """In a second, a random cart-pole has fallen or drifted; planned, it is upright."""
    returns = {}
    for controller, settings in {"icem": ["--horizon", "0.8"], "random": []}.items():
        words = ["run", "--task", "InvertedPendulum-v5", "--steps", "50", "--json"]
        assert main([*words, "--controller", controller, *settings]) == GOOD
        returns[controller] = said()["return_mean"]
    assert returns["icem"] == 50 > returns["random"]


@pytest.fixture
def planner(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], MPC]:
    """The controller that a ``run`` would let act."""
    made: list[MPC] = []

    def look(task: Any, controller: MPC, *args: Any, **kwargs: Any) -> Any:
        made.append(controller)
        raise KeyboardInterrupt

    def plan(words: list[str]) -> MPC:
        assert main(["run", "--task", "InvertedPendulum-v5", *words]) == FAILED
        return made.pop()

    monkeypatch.setattr(module, "evaluate", look)
    return plan


def test_run_plans_as_the_preset_unless_told_otherwise(
    planner: Callable[[list[str]], MPC], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task's control period is 0.04 s, of which 2 x 0.02 s are physics."""
    preset = PlannerConfig(
        ICEMConfig(num_samples=12), 0.6, 3, "linear", 0.98, 2, Physics(0.01), PDServo(0.5)
    )
    monkeypatch.setitem(PRESETS, "InvertedPendulum-v5", preset)
    planned = planner([])
    assert isinstance(planned.optimizer, ICEM) and planned.optimizer.config == preset.optimizer
    assert planned.optimizer.spline.knots == 3
    assert planned.optimizer.spline.interpolation == "linear"
    assert (planning_steps(planned), planned.discount) == (15, 0.98)
    assert (planned.replan_every, planned.dynamics.frame_skip) == (2, 4)
    assert planned.dynamics.task.servo == preset.servo
    told = planner(["--controller", "mppi", "--horizon", "0.4", "--discount", "1"])
    assert isinstance(told.optimizer, MPPI)
    assert (planning_steps(told), told.discount) == (10, 1.0)
    assert planner(["--replan-every", "3"]).replan_every == 3
    assert (told.dynamics.threads, planner(["--threads", "2"]).dynamics.threads) == (1, 2)


def test_run_plans_as_the_run_unless_told_otherwise(
    planner: Callable[[list[str]], MPC], tmp_path: Path
) -> None:
    words = [*LEARN, "--optimizer", "mppi", "--config.optimizer.num-samples", "8"]
    words += ["--value", "on", "--config.horizon", "0.2"]
    assert main([*words, "--out", str(tmp_path / "run")]) == GOOD
    planned = planner(["--dynamics", str(tmp_path / "run")])
    assert isinstance(planned.optimizer, MPPI) and planned.optimizer.config.num_samples == 8
    other = planner(["--dynamics", str(tmp_path / "run"), "--controller", "cem"])
    patient = planner(["--dynamics", str(tmp_path / "run"), "--replan-every", "2"])
    assert (planned.replan_every, patient.replan_every) == (1, 2)
    assert isinstance(other.optimizer, CEM)
    for one in (planned, other):
        assert (planning_steps(one), one.discount) == (5, 0.99)
        assert isinstance(one.terminal_value, ValueFunction)
        assert isinstance(one.dynamics, ProbabilisticEnsemble)


def tree_words(task: str, rule: str) -> list[str]:
    words = ["run", "--task", task, "--controller", "tree-search", "--rule", rule]
    return [*words, "--config.search.simulations", "8", "--steps", "2"]


@pytest.mark.parametrize("rule", ["uct", "puct", "gumbel"])
@pytest.mark.parametrize("task", ["CartpoleSwingup-v0", "CartPole-v1"])
def test_run_a_tree_search_by_every_rule_and_draw_its_tree(
    rule: str, task: str, tmp_path: Path, said: Callable[[], dict[str, Any]]
) -> None:
    path = tmp_path / "tree.svg"
    assert main([*tree_words(task, rule), "--tree", str(path), "--json"]) == GOOD
    outcome = said()
    assert (outcome["lengths"], outcome["simulations"], outcome["tree"]) == ([2], 8, str(path))
    picture = path.read_text()
    assert ">9</text>" in picture, "the root's visits: its own and eight"
    known = ("-0.25", "0.25", "1") if task == "CartpoleSwingup-v0" else ("0", "1")
    assert all(f">{action}</text>" in picture for action in known)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--controller", "cem", "--tree", "t.svg"], "that searches a tree, got MPC"),
        (["--controller", "random", "--tree", "t.svg"], "searches a tree, got RandomController"),
        (["--controller", "tree-search", "--rule", "ucb"], "unknown rule 'ucb'; nearest: uct"),
        (["--controller", "tree-search", "--horizon", "1"], "Unrecognized options: --horizon"),
        (["--controller", "tree-search", "--config.hold", "0"], "hold: expected at least 1, got 0"),
    ],
)
def test_trees_that_can_not_be_searched_or_drawn(
    words: list[str], message: str, refused: Refused
) -> None:
    assert refused(words, message) in (FAILED, WRONG_WORDS)
