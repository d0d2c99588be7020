"""``mpc-robot ros2`` and ``ros2-sim``: what is refused before anything is begun."""

import pytest

from mpc_robot.cli import main

FAILED, WRONG_WORDS = 1, 2
ARM = ["--task", "ReacherTwoLink-v0"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["ros2"], WRONG_WORDS, "--task"),
        (["ros2", *ARM, "--controller", "icemm"], WRONG_WORDS, "nearest: icem"),
        (["ros2", *ARM, "--dynamics", "nowhere"], WRONG_WORDS, "unknown dynamics 'nowhere'"),
        (["ros2", *ARM, "--transport", "dds", "--wait"], WRONG_WORDS, "transport: expected ros2"),
        (["ros2", *ARM, "--transport", "dds", "--ros-args", "-r", "a:=b"], WRONG_WORDS, "ros2"),
        (["ros2", *ARM, "--budget", "0"], WRONG_WORDS, "budget: expected positive"),
        (["ros2", *ARM, "--control.rate", "-1"], WRONG_WORDS, "rate: expected a positive"),
        (["ros2", *ARM, "--topics.goal", "goal"], WRONG_WORDS, "goal: expected a topic"),
        (["ros2", "--task", "Ant-v5"], FAILED, "joint 'root': expected a hinge or slide"),
        (["ros2", "--task", "Walker2d-v5"], FAILED, "one whose actions are commands"),
        (["ros2-sim"], WRONG_WORDS, "--task"),
        (["ros2-sim", "--task", "nothing"], WRONG_WORDS, "unknown task 'nothing'"),
        (["ros2-sim", *ARM, "--robot.pace", "0"], WRONG_WORDS, "pace: expected positive"),
        (["ros2-sim", "--task", "Ant-v5", "--transport", "dds"], FAILED, "joint 'root'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    printed = capsys.readouterr()
    error = printed.err.splitlines()[-1]
    assert error.startswith("error: ") and said in error and "Traceback" not in printed.err


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("ros2", "--planner.optimizer.num-samples"),
        ("ros2", "--control.real-time"),
        ("ros2-sim", "--robot.watchdog"),
    ],
)
def test_help_lists_the_settings(
    command: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, *ARM, "--help"]) == 0
    assert option in capsys.readouterr().out


def test_how_plans_are_sampled_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ros2", *ARM, "--transport", "dds", "--timing.sampling", "cubic"]
    assert main(words) != 0
    said = " ".join(capsys.readouterr().err.split())
    assert "timing.sampling: expected that of control.sampling, got 'cubic'" in said
