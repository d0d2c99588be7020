"""The learning curve and the video: that they show what happened, and that no display is fine."""

import gc
import json
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest

from mpc_robot.controllers import RandomController
from mpc_robot.envs import get_task
from mpc_robot.errors import RenderingUnavailable
from mpc_robot.training.evaluation import evaluate
from mpc_robot.training.learning_curve import plot_learning_curve
from mpc_robot.training.video import film, picture, renderable_env

CARTPOLE = get_task("CartpoleBalance-v0")  # 50 Hz


@pytest.fixture
def rendering() -> None:
    try:
        renderable_env(CARTPOLE).close()
    except RenderingUnavailable as error:
        pytest.skip(str(error))


def write_metrics(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def blue(picture: Path) -> int:
    """Pixels of the evaluation's colour."""
    image = imageio.imread(picture)[..., :3].astype(int)
    return int((np.abs(image - [31, 119, 180]).sum(-1) < 30).sum())


def test_learning_curve_shows_evaluations(tmp_path: Path) -> None:
    training = [{"env_step": 100 * i, "train/return": float(i)} for i in range(9)]
    evaluations = [
        {"env_step": 300 * i, "eval/return_mean": 3.0 * i, "eval/return_std": 1.0} for i in range(3)
    ]
    empty, full = tmp_path / "empty.png", tmp_path / "full.png"
    plot_learning_curve(write_metrics(tmp_path / "a", training), empty, "title")
    plot_learning_curve(write_metrics(tmp_path / "b", training + evaluations), full, "title", 9.5)
    assert blue(empty) == 0 < blue(full)


def test_learning_curve_of_nothing_and_of_nan(tmp_path: Path) -> None:
    lines = [{"env_step": 1, "train/return": None}]
    for name, content in (("nothing", []), ("nan", lines)):
        target = tmp_path / f"{name}.png"
        plot_learning_curve(write_metrics(tmp_path / name, content), target, name)
        assert imageio.imread(target).shape[:2] == (450, 700)


@pytest.mark.usefixtures("rendering")
def test_video_plays_at_the_pace_of_the_task(tmp_path: Path) -> None:
    low, high = np.array([-1.0]), np.array([1.0])
    path = tmp_path / "new" / "video.mp4"
    evaluation = evaluate(CARTPOLE, RandomController(low, high), 1, 0, max_steps=50, video=path)
    assert evaluation.lengths == 50
    assert imageio.immeta(path, plugin="FFMPEG")["fps"] == 25
    frames = imageio.imread(path, plugin="FFMPEG")
    assert len(frames) == 26  # the start, then every second of 50 steps: 1 s
    assert np.abs(frames[0].astype(int) - frames[-1]).max() > 50


@pytest.mark.usefixtures("rendering")
def test_filming_changes_nothing_of_the_episode(tmp_path: Path) -> None:
    low, high = np.array([-1.0]), np.array([1.0])
    one = evaluate(CARTPOLE, RandomController(low, high), 1, 0, max_steps=9)
    two = evaluate(
        CARTPOLE, RandomController(low, high), 1, 0, max_steps=9, video=tmp_path / "v.mp4"
    )
    assert (one.episodes[0].observations == two.episodes[0].observations).all()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_rendering_it_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    controller = RandomController(np.array([-1.0]), np.array([1.0]))
    with pytest.raises(RenderingUnavailable, match="CartpoleBalance-v0 can not be rendered") as e:
        evaluate(CARTPOLE, controller, 1, 0, video=tmp_path / "v.mp4")
    assert "\n" not in str(e.value)
    assert not (tmp_path / "v.mp4").exists()
    del e
    gc.collect()  # Gymnasium's half-made viewer complains when it goes; let it do so here


def test_an_environment_made_without_pictures(tmp_path: Path) -> None:
    from mpc_robot.envs import make_env

    env = make_env(get_task("Pendulum-v1"))
    env.reset(seed=0)
    with (
        pytest.warns(UserWarning, match="without specifying any render mode"),
        pytest.raises(TypeError, match="expected a picture, got NoneType"),
    ):
        picture(env)
    with film(env, tmp_path / "unused.mp4"):
        pass
