"""The command: what it prints, what it leaves behind, and its exit codes."""

import json
import math
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from mpc_robot.agents import AGENTS
from mpc_robot.cli import main
from mpc_robot.envs import TASKS
from mpc_robot.errors import PlantError
from mpc_robot.training import checkpoint, trainer
from mpc_robot.training.metrics import read_metrics

GOOD, FAILED, WRONG_WORDS = 0, 1, 2
TRAIN = ["train", "--agent", "fake", "--task", "Pendulum-v1", "--steps", "400"]
TRAIN += ["--eval-every", "400", "--eval-episodes", "1", "--checkpoint-every", "200"]
SCRIPT = str(Path(sys.executable).with_name("mpc-robot"))
RUN = ["run", "--task", "CartpoleBalance-v0", "--steps", "3"]

pytestmark = pytest.mark.usefixtures("fake_kind")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished training run."""
    assert main([*TRAIN, "--out", str(tmp_path / "run")]) == GOOD
    return tmp_path / "run"


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_tasks_lists_every_task(
    said: Callable[[], dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tasks"]) == GOOD
    text = capsys.readouterr().out
    assert all(name in text for name in TASKS)
    assert main(["tasks", "--json"]) == GOOD
    tasks = {task["name"]: task for task in said()["tasks"]}
    assert tasks.keys() == TASKS.keys()
    assert tasks["HalfCheetah-v5"]["action_dim"] == 6


def test_tasks_leaves_nothing_behind(tmp_path: Path) -> None:
    """MuJoCo would log each warning about a model to a file."""
    words = [SCRIPT, "tasks"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (GOOD, "")
    assert not list(tmp_path.iterdir())


def test_doctor_renders_and_names_extras(said: Callable[[], dict[str, Any]]) -> None:
    assert main(["doctor", "--json"]) == GOOD
    checks = {check["name"]: check for check in said()["checks"]}
    known = {"python", "torch", "mujoco", "gymnasium", "disk", "rendering", "pixels"}
    assert known <= checks.keys()
    assert all(check["works"] for check in checks.values() if check["required"])
    rendering = checks["rendering"]
    assert "by mujoco." in rendering["detail"] or not rendering["works"]
    pixels = checks["pixels"]
    assert "64 x 64 by" in pixels["detail"] or "apt-get install" in pixels["detail"]
    assert not pixels["required"]
    for module, name in (("pytorch_mppi", "bench"), ("viser", "viz")):
        extra = checks[module]
        assert extra["works"] or f"pip install 'mpc-robot[{name}]'" in extra["detail"]


def test_doctor_fails_where_something_needed_does_not_work(
    monkeypatch: pytest.MonkeyPatch, said: Callable[[], dict[str, Any]]
) -> None:
    from mpc_robot.cli import doctor

    monkeypatch.setattr(doctor, "LEAST_DISK_GB", 1e9)
    assert main(["doctor", "--json"]) == FAILED
    outcome = said()
    assert outcome["error"] == "does not work here: disk"
    assert [c["name"] for c in outcome["checks"] if c["required"] and not c["works"]] == ["disk"]


def test_train_leaves_a_whole_run(tmp_path: Path, said: Callable[[], dict[str, Any]]) -> None:
    assert main([*TRAIN, "--out", str(tmp_path / "run"), "--json"]) == GOOD
    outcome = said()
    assert outcome["env_step"] == 400
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    (evaluation,) = [line for line in lines if "eval/return_mean" in line]
    assert outcome["eval/return_mean"] == evaluation["eval/return_mean"]
    names = {file.name for file in (tmp_path / "run").iterdir()}
    expected = {"config.json", "metrics.jsonl", "checkpoint", "learning_curve.png", "tensorboard"}
    assert expected <= names


def test_a_run_is_made_longer(run: Path, said: Callable[[], dict[str, Any]]) -> None:
    resume = ["train", "--resume", str(run), "--json", "--steps"]
    assert main([*resume, "300"]) == FAILED
    assert "steps: expected more than the 400 already taken" in said()["error"]
    assert main([*resume, "600"]) == GOOD
    assert said()["env_step"] == 600


def test_settings_come_from_the_preset_and_the_command_line(tmp_path: Path) -> None:
    def config(*words: str) -> dict[str, Any]:
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        assert main([*TRAIN, "--steps", "1", "--out", str(tmp_path / "run"), *words]) == GOOD
        return json.loads((tmp_path / "run" / "config.json").read_text())  # type: ignore[no-any-return]

    assert config()["agent"] == {"type": "FakeConfig", "rate": 2e-3, "horizon": 1.0}
    changed = config("--config.rate", "0.5", "--seed", "9")
    assert changed["agent"]["rate"] == 0.5 and changed["train"]["seed"] == 9


def test_eval_repeats_itself(run: Path, said: Callable[[], dict[str, Any]]) -> None:
    words = ["eval", str(run), "--episodes", "3", "--json"]
    outcomes = []
    for seed in ("0", "0", "1"):
        assert main([*words, "--seed", seed]) == GOOD
        outcomes.append(said())
    assert outcomes[0]["returns"] == outcomes[1]["returns"] != outcomes[2]["returns"]
    assert len(outcomes[0]["returns"]) == 3 and outcomes[0]["env_step"] == 400


def test_eval_plans_around_a_policy(tmp_path: Path, said: Callable[[], dict[str, Any]]) -> None:
    words = ["train", "--agent", "dhmbpo", "--task", "Pendulum-v1", "--steps", "200"]
    words += ["--eval-every", "200", "--eval-episodes", "1", "--out", str(tmp_path / "policy")]
    assert main(words) == GOOD
    outcomes = []
    for how in ([], ["--plan"]):
        assert main(["eval", str(tmp_path / "policy"), "--episodes", "1", "--json", *how]) == GOOD
        outcomes.append(said())
    assert [outcome["plan"] for outcome in outcomes] == [False, True]
    assert outcomes[0]["returns"] != outcomes[1]["returns"]


def test_eval_plans_around_nothing_else(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(run), "--plan"]) == FAILED
    assert (
        "plan: expected a run of the agent dhmbpo or dreamer, got fake" in capsys.readouterr().err
    )


def test_words_for_people_and_for_programs_do_not_mix(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(run), "--episodes", "1"]) == GOOD
    people = capsys.readouterr()
    assert "return" in people.out and "{" not in people.out
    assert main(["eval", str(run), "--episodes", "1", "--json"]) == GOOD
    programs = capsys.readouterr()
    assert len(programs.out.splitlines()) == 1 and "return" in programs.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], ""),
        (["trian"], "unknown subcommand 'trian'; nearest: train"),
        (
            ["train", "--agent", "fak", "--task", "Pendulum-v1"],
            "unknown agent 'fak'; nearest: fake",
        ),
        (["train", "--agent", "fake", "--task", "HalfCheeta-v5"], "nearest: HalfCheetah-v5"),
        (["run", "--task", "HalfCheeta-v5"], "nearest: HalfCheetah-v5"),
        (["run", "--task", "Ant-v5", "--controller", "ice"], "'ice'; nearest: icem"),
        ([*RUN, "--dynamics", "simulatr"], "unknown dynamics 'simulatr'; nearest: simulator"),
        ([*RUN, "--dynamics", "x"], "unknown dynamics 'x'; known: simulator, the folder of a run"),
        ([*RUN, "--horizon", "0"], "horizon: expected a positive time in s, got 0.0"),
        ([*RUN, "--horizon", "nan"], "horizon: expected a positive time in s, got nan"),
        ([*RUN, "--horizon", "soon"], "error: --horizon: could not convert string to float"),
        ([*RUN, "--config.num-samples", "0"], "error: num_elites: expected 1 to 0, got 10"),
        ([*RUN, "--threads", "0"], "threads: expected at least 1, got 0"),
        ([*TRAIN, "--out", "x", "--config.horizon", "0"], "horizon: expected a positive time"),
        ([*TRAIN, "--out", "x", "--config.horizn", "1"], "; Perhaps you meant: --config.horizon"),
        ([*TRAIN, "--out", "x", "--eval-every", "0"], "eval_every: expected at least 1, got 0"),
        (TRAIN, "--out"),
        (["train", "--resume", "x", "--task", "Ant-v5"], "--task"),
        (["eval"], "PATH"),
        (["train", "--agent"], "--agent"),
        (
            ["--bogus"],
            "error: unknown subcommand '--bogus'; known: doctor, dream, eval, play,",
        ),
        ([*TRAIN, "--optimizer", "mppi"], "optimizer, value: expected the agent pets"),
        ([*TRAIN, "--size", "12m"], "size: expected an agent dreamer"),
        (["train", "--agent", "dreamer", "--size", "12"], "size '12'; nearest: 12m"),
        (["train", "--agent", "pets", "--optimizer", "mpp"], "optimizer 'mpp'; nearest: mppi"),
        (["--json", "tasks"], "error: unknown subcommand '--json'"),
    ],
)
def test_wrong_words(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code = main(words)
    printed = capsys.readouterr()
    assert code == (WRONG_WORDS if words else GOOD)
    assert message in printed.err
    assert printed.err.count("\n") == (1 if words else 0)
    assert not list(tmp_path.iterdir())


def test_wrong_words_for_programs(said: Callable[[], dict[str, Any]]) -> None:
    assert main(["run", "--task", "nothing", "--json"]) == WRONG_WORDS
    outcome = said()
    assert outcome["exit_code"] == 2 and "unknown task 'nothing'" in outcome["error"]
    assert main(["run", "--tusk", "nothing", "--json"]) == WRONG_WORDS
    assert said()["exit_code"] == 2
    assert main([*RUN, "--horizon", "0", "--json"]) == WRONG_WORDS
    assert said()["error"] == "horizon: expected a positive time in s, got 0.0"


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["train", "--help"], ["run", "-h"]])
def test_help_is_good(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == GOOD
    text = capsys.readouterr().out
    assert "usage: mpc-robot" in text and "``" not in text


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == GOOD
    assert capsys.readouterr().out == f"mpc-robot {version('mpc-robot')}\n"


def test_help_of_an_agent_shows_the_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--help"]) == GOOD
    text = capsys.readouterr().out
    assert "--config.rate" in text and "default: 0.002" in text


def test_help_names_every_agent(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == GOOD
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    named = text[text.index("name of the learner: ") :].partition(". ")[0]
    assert set(re.split(r", | or ", named.partition(": ")[2])) == set(AGENTS) - {"fake"}


def test_a_horizon_shorter_than_a_control_period(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--horizon", "0.001"]) == FAILED
    assert "horizon: expected at least one control period of 0.02 s" in capsys.readouterr().err


def test_a_folder_that_holds_a_run_is_left_alone(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(run)
    assert main([*TRAIN, "--out", str(run), "--seed", "7"]) == FAILED
    assert "already holds a run" in capsys.readouterr().err
    assert contents(run) == before


def test_checkpoint_of_another_task(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--dynamics", str(run)]) == FAILED
    assert "of another task: expected 'CartpoleBalance-v0'" in capsys.readouterr().err
    file = run / "config.json"
    file.write_text(file.read_text().replace("Pendulum-v1", "InvertedPendulum-v5"))
    for words in (["eval", str(run)], ["train", "--resume", str(run)]):
        assert main(words) == FAILED
        message = "of another task: expected 'InvertedPendulum-v5', got 'Pendulum-v1'"
        assert message in capsys.readouterr().err


def test_an_agent_without_dynamics(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--task", "Pendulum-v1", "--dynamics", str(run)]) == WRONG_WORDS
    assert "the agent fake" in capsys.readouterr().err


def test_a_task_that_can_not_be_simulated(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--task", "Pendulum-v1"]) == FAILED
    assert "a simulator needs observe and reward" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["eval"], ["train", "--resume"]])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-9], "truncated"),
        (lambda content: content[:-1] + b"!", "tampered"),
    ],
)
def test_damaged_checkpoint(
    run: Path,
    command: list[str],
    damage: Callable[[bytes], bytes],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (arrays,) = run.glob("checkpoint/*/arrays.safetensors")
    arrays.write_bytes(damage(arrays.read_bytes()))
    before = contents(run)
    assert main([*command, str(run)]) == FAILED
    assert message in capsys.readouterr().err
    assert contents(run) == before


@pytest.mark.parametrize("command", [["eval"], ["train", "--resume"]])
def test_no_run_there(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, str(tmp_path)]) == FAILED
    assert f"no run in {tmp_path}" in capsys.readouterr().err


def test_full_disk_while_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk fills up after the first checkpoint; with room again the run goes on."""
    written: list[Path] = []
    write = checkpoint._write_synced

    def full(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) > 3:
            raise OSError(28, "No space left on device")
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_write_synced", full)
        assert main([*TRAIN, "--out", str(tmp_path / "run")]) == FAILED
    message = capsys.readouterr().err
    assert "bytes needed (No space left on device); the previous one is intact" in message
    assert str(tmp_path / "run" / "checkpoint") in message
    assert main(["train", "--resume", str(tmp_path / "run")]) == GOOD


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PlantError("observation[1]: expected a finite number, got nan"), "observation[1]"),
        (KeyboardInterrupt(), "mpc-robot train --resume"),
    ],
)
def test_a_run_that_was_stopped_goes_on(
    tmp_path: Path,
    error: BaseException,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, evaluate = tmp_path / "run", trainer.evaluate

    def stop(*args: Any, **kwargs: Any) -> Any:
        raise error

    monkeypatch.setattr(trainer, "evaluate", stop)
    assert main([*TRAIN, "--out", str(path)]) == FAILED
    assert message in capsys.readouterr().err
    monkeypatch.setattr(trainer, "evaluate", evaluate)
    assert main(["train", "--resume", str(path)]) == GOOD
    assert [line["env_step"] for line in read_metrics(path / "metrics.jsonl")] == [200, 400, 400]


def test_what_is_not_finite_is_null(
    monkeypatch: pytest.MonkeyPatch, said: Callable[[], dict[str, Any]]
) -> None:
    from mpc_robot.cli import tasks

    row = {"name": "x", "observation_dim": 1, "action_dim": 1, "dt": math.nan, "description": ""}
    found = {**row, "max_episode_steps": -math.inf}
    monkeypatch.setattr(tasks, "_describe", lambda task: found)
    assert main(["tasks", "--json"]) == GOOD
    assert said()["tasks"][0] == {**found, "dt": None, "max_episode_steps": None}


def test_a_bug_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    from mpc_robot.cli import episodes as module

    monkeypatch.setattr(module, "evaluate", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main([*RUN, "--controller", "random"])


def test_the_console_script() -> None:
    words = [SCRIPT, *RUN, "--controller", "random", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == GOOD
    assert json.loads(done.stdout.splitlines()[-1])["lengths"] == [3]
    words = [sys.executable, "-m", "mpc_robot", "run", "--task", "nothing"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == WRONG_WORDS and "Traceback" not in done.stderr


def test_ctrl_c_on_the_console_script(tmp_path: Path) -> None:
    words = [SCRIPT, "train", "--agent", "pets", "--task", "CartpoleBalance-v0"]
    words += ["--config.warmup-steps", "100000", "--out", str(tmp_path / "run")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "run" / "metrics.jsonl").exists():
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == FAILED
    assert f"mpc-robot train --resume {tmp_path / 'run'}" in errors
    assert "Traceback" not in errors
    checkpoint.load(tmp_path / "run" / "checkpoint", {"task": "CartpoleBalance-v0"})


def test_the_environment_of_the_readme_trains_from_its_folder(tmp_path: Path) -> None:
    """Nothing is known of it but what it does, so its reward and termination are learned."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (code,) = [block for block in blocks if 'gym.register("Cart-v0"' in block]
    (tmp_path / "cart.py").write_text(code)
    words = [SCRIPT, "train", "--agent", "pets", "--task", "cart:Cart-v0", "--out", "run"]
    words += ["--steps", "100", "--eval-episodes", "1", "--config.warmup-steps", "50"]
    words += ["--config.fit-every", "50", "--config.fit.max-steps", "20", "--config.horizon", "1"]
    words += ["--config.ensemble.hidden", "8", "--config.optimizer.num-samples", "16"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == GOOD, done.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert "reward" in report["model"]["calibration"]["outputs"]
    assert "a simulator needs observe and reward" in report["plan"]["oracle_missing"]
    (arrays,) = tmp_path.glob("run/checkpoint/*/arrays.safetensors")
    heads = load_file(arrays)["/agent/model/network.biases.3"].shape[-1]
    assert heads == 2 * (2 + 1) + 1  # mean and variance of observation and reward; termination


PETS = ["train", "--agent", "pets", "--task", "InvertedPendulum-v5"]


@pytest.mark.parametrize(
    ("words", "listed", "not_listed"),
    [
        ([], ["noise-beta FLOAT", "config.value.hidden"], []),
        (["--optimizer", "mppi"], ["temperature FLOAT", "config.value.hidden"], ["noise-beta"]),
        (["--value", "off"], ["noise-beta FLOAT"], ["config.value.hidden"]),
        (["--task", "CartpoleSwingup-v0"], ["noise-beta FLOAT"], ["config.value.hidden"]),
        (["--task", "CartpoleSwingup-v0", "--value", "on"], ["config.value.hidden"], []),
    ],
)
def test_help_lists_the_settings_of_the_parts_chosen(
    words: list[str], listed: list[str], not_listed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*PETS, *words, "--help"]) == GOOD
    text = capsys.readouterr().out
    assert all(setting in text for setting in listed)
    assert not any(setting in text for setting in not_listed)
