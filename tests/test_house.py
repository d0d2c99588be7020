"""What holds for every file of the repository, and no other tool checks."""

import ast
import configparser
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [
    path
    for folder in ("mpc_robot", "envs", "controllers", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
]

PICKLERS = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
PICKLING_CALLS = re.compile(r"^torch\.(load|save)\(|allow_pickle=True")
SEEDED_NUMPY = {"BitGenerator", "Generator", "PCG64", "Philox", "SeedSequence", "default_rng"}
GLOBAL_SEEDS = {"torch.manual_seed", "torch.seed", "torch.random.manual_seed"}
# These draw from torch's global generator unless they are given one.
TORCH_DRAWS = re.compile(
    r"torch\.(bernoulli|multinomial|normal|poisson|rand(n|int|perm)?(_like)?)"
    r"|.*\.((trunc_|log_)?normal|uniform|bernoulli|exponential|geometric|cauchy|random|orthogonal"
    r"|(kaiming|xavier)_(normal|uniform))_"
)

# Judo draws from NumPy's global generator; its worker, a process of its own, must seed that.
JUDO_IS_SEEDED = "benchmarks/peers/plan_judo.py np.random.seed(seed)"

FORBIDDEN_TEXT = {
    "a path of one machine": r"(?<![\w.])/(work|root|tmp|home/\w+|Users/\w+)/",
    "a package registry": r"pypi\.org|pythonhosted|npmjs|anaconda\.org|download\.pytorch",
    "unfinished work": r"\b(TODO|FIXME|XXX)\b",
}


def text(path: Path) -> str:
    """A file's text, empty where it has none."""
    content = path.read_bytes()
    return "" if b"\0" in content else content.decode("utf-8")


def nodes(*kinds: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """Every syntax node of the kinds in the sources, with where it stands."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(text(path))):
            if isinstance(node, kinds):
                yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", node


def calls() -> list[tuple[str, ast.Call]]:
    """Every call in the sources, with where it stands."""
    return [(place, node) for place, node in nodes(ast.Call) if isinstance(node, ast.Call)]


def imported(node: ast.AST) -> set[str]:
    """The top-level packages that an import statement names."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    assert isinstance(node, ast.ImportFrom)
    return {(node.module or "").split(".")[0]}


def test_nothing_is_pickled() -> None:
    imports = nodes(ast.Import, ast.ImportFrom)
    assert not [place for place, node in imports if imported(node) & PICKLERS]
    written = [(place, ast.unparse(call)) for place, call in calls()]
    assert not [pair for pair in written if PICKLING_CALLS.search(pair[1])]


def draws_globally(call: ast.Call) -> bool:
    """Whether a call uses a random state that nobody passed in."""
    name = ast.unparse(call.func)
    if numpy := re.match(r"(?:np|numpy)\.random\.(\w+)", name):
        return numpy[1] not in SEEDED_NUMPY
    given = any(keyword.arg == "generator" for keyword in call.keywords)
    return name in GLOBAL_SEEDS or (TORCH_DRAWS.fullmatch(name) is not None and not given)


def test_random_numbers_come_from_a_generator_that_is_passed_in() -> None:
    imports = nodes(ast.Import, ast.ImportFrom)
    assert not [place for place, node in imports if "random" in imported(node)]
    drawn = [f"{place} {ast.unparse(call)}" for place, call in calls() if draws_globally(call)]
    assert [re.sub(r":\d+", "", place) for place in drawn] == [JUDO_IS_SEEDED]


@pytest.mark.parametrize(
    ("call", "globally"),
    [
        ("np.random.normal(3)", True),
        ("np.random.default_rng(0)", False),
        ("np.random.SeedSequence(0).generate_state(1)", False),
        ("torch.randn(3)", True),
        ("torch.randn(3, generator=rng)", False),
        ("torch.empty(3).uniform_(0, 1)", True),
        ("nn.init.trunc_normal_(w, generator=rng)", False),
        ("torch.manual_seed(0)", True),
        ("rng.manual_seed(0)", False),
    ],
)
def test_the_check_on_random_numbers_itself(call: str, globally: bool) -> None:
    node = ast.parse(call, mode="eval").body
    assert isinstance(node, ast.Call)
    assert draws_globally(node) is globally


def test_functions_and_files_stay_short() -> None:
    functions = nodes(ast.FunctionDef, ast.AsyncFunctionDef)
    lengths = {place: node.end_lineno - node.lineno + 1 for place, node in functions}  # type: ignore[attr-defined]
    assert not {place: lines for place, lines in lengths.items() if lines > 60}
    files = {path.name: len(text(path).splitlines()) for path in SOURCES}
    assert not {name: lines for name, lines in files.items() if lines > 400}


def test_every_config_is_frozen_and_documents_its_fields() -> None:
    for place, node in nodes(ast.ClassDef):
        assert isinstance(node, ast.ClassDef)
        if node.name.endswith("Config"):
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            assert any("frozen=True" in decorator for decorator in decorators), place
            documented = ast.get_docstring(node) or ""
            fields = [ast.unparse(f.target) for f in node.body if isinstance(f, ast.AnnAssign)]
            assert not [f for f in fields if f"{f}:" not in documented], place


@pytest.mark.parametrize("what", FORBIDDEN_TEXT)
def test_no_file_in_git_mentions(what: str) -> None:
    command = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [path for path in map(ROOT.joinpath, names.splitlines()) if path.is_file()]
    pattern = re.compile(FORBIDDEN_TEXT[what])
    found = {path.relative_to(ROOT): pattern.search(text(path)) for path in paths}
    found.pop(Path(__file__).relative_to(ROOT))
    assert not {path: match[0] for path, match in found.items() if match}


def test_python_in_the_readme_compiles() -> None:
    for block in re.findall(r"```python\n(.*?)```", text(ROOT / "README.md"), re.DOTALL):
        compile(block, "README.md", "exec")


def test_what_the_tests_need_is_pinned_and_the_same_everywhere() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    needed = setup["options"]["install_requires"] + setup["options.extras_require"]["dev"]
    pins = dict(re.findall(r"^([\w.-]+)==([\w.]+)$", text(ROOT / "constraints.txt"), re.MULTILINE))
    assert not set(re.findall(r"^[\w-]+", needed, re.MULTILINE)) - set(pins)
    assert len(pins) == len(text(ROOT / "constraints.txt").splitlines()) - 1, "only name==version"


def test_the_version_is_the_same_everywhere() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    version = setup["metadata"]["version"]
    assert f"\nversion: {version}\n" in text(ROOT / "CITATION.cff")
    assert re.search(r"^## (\S+)", text(ROOT / "CHANGELOG.md"), re.MULTILINE)[1] == version  # type: ignore[index]
