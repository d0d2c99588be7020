"""What is installed is `mpc_robot` and nothing else, and it works far from this folder."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import mujoco
import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "mpc_robot": "mpc_robot",
    "envs": "mpc_robot/envs",
    "controllers": "mpc_robot/controllers",
}
SHIPPED = ("*.py", "py.typed", "assets/**/*.*")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
OFFLINE = ("--no-deps", "--no-index")


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed, without this process's Python settings."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    result = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that no stale build folder leaks into it."""
    source = tmp_path_factory.mktemp("source")
    for folder in (*FOLDERS, "tests"):
        shutil.copytree(ROOT / folder, source / folder)
    for file in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    run(*PIP, "wheel", *OFFLINE, "--no-build-isolation", "--wheel-dir=dist", ".", cwd=source)
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment: the wheel, and the dependencies present here."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home)
    python = home / "bin" / "python"
    run(*PIP, "--python", python, "install", *OFFLINE, wheel, cwd=home)
    (site,) = home.glob("lib/python*/site-packages")
    # A folder named in a .pth has its own .pth files ignored: the editable install stays hidden.
    (site / "dependencies.pth").write_text(f"{Path(mujoco.__file__).parents[1]}\n")
    return python


@pytest.fixture(params=["empty folder", "user's own envs and controllers"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A working directory that is not this one."""
    if request.param != "empty folder":
        for name in ("envs", "controllers"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "__init__.py").write_text("raise ImportError('not mpc_robot')\n")
    return tmp_path


def test_the_wheel_holds_the_three_folders_and_no_more(wheel: Path) -> None:
    expected = {
        f"{target}/{file.relative_to(ROOT / folder).as_posix()}"
        for folder, target in FOLDERS.items()
        for pattern in SHIPPED
        for file in (ROOT / folder).rglob(pattern)
    }
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == expected
    assert {name.split("/")[0] for name in names} == {"mpc_robot"}
    assert "mpc_robot/py.typed" in names
    assert any(fnmatch(name, "mpc_robot/envs/assets/*.xml") for name in names)


def test_imports_come_from_the_wheel(python: Path, elsewhere: Path) -> None:
    code = "import mpc_robot.envs as e, mpc_robot.controllers as c; print(e.__file__, c.__file__)"
    files = run(python, "-c", code, cwd=elsewhere).split()
    assert all(Path(file).is_relative_to(python.parents[1]) for file in files), files


def test_the_command_lists_the_tasks(python: Path, elsewhere: Path) -> None:
    output = run(python.with_name("mpc-robot"), "tasks", "--json", cwd=elsewhere)
    assert "CartpoleSwingup-v0" in json.dumps(json.loads(output.splitlines()[-1]))
