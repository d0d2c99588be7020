"""The checkpoint is whole at every moment, exact, and says clearly what is wrong with it."""

import errno
import json
import math
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mpc_robot.data.chunks import Chunk, digest_of
from mpc_robot.errors import CheckpointError
from mpc_robot.training import checkpoint

ABOUT = {"task": "Pendulum-v1", "agent": "pets"}


Child = Callable[[Callable[[], None]], int]


def same(a: Any, b: Any) -> bool:
    """Equal to the bit, in type, dtype and shape."""
    if isinstance(a, torch.Tensor):
        return (
            isinstance(b, torch.Tensor)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and a.contiguous().flatten().view(torch.uint8).equal(b.flatten().view(torch.uint8))
        )
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and a.tobytes() == b.tobytes()
        )
    if isinstance(a, dict):
        return isinstance(b, dict) and [*a] == [*b] and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    return type(a) is type(b) and a == b


@pytest.mark.parametrize(
    "dtype",
    [
        torch.bool,
        torch.uint8,
        torch.int32,
        torch.int64,
        torch.bfloat16,
        torch.float16,
        torch.float32,
        torch.float64,
    ],
)
@pytest.mark.parametrize("shape", [(), (0,), (0, 5), (3,), (2, 3, 4)])
def test_tensors_come_back_bit_for_bit(
    tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    values = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(0))
    state = {"t": values.to(dtype)}
    checkpoint.save(tmp_path, state, ABOUT, step=1)
    assert same(state, checkpoint.load(tmp_path, ABOUT))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0, 5), (2, 3)])
def test_arrays_come_back_bit_for_bit_and_writable(
    tmp_path: Path, dtype: type, shape: tuple[int, ...]
) -> None:
    state = {"a": np.random.default_rng(0).integers(0, 2, shape).astype(dtype)}
    state["a"] = np.asarray(state["a"])
    checkpoint.save(tmp_path, state, ABOUT, step=1)
    loaded = checkpoint.load(tmp_path, ABOUT)
    assert same(state, loaded)
    loaded["a"][...] = 1
    assert (loaded["a"] == 1).all()


def test_special_floats_in_arrays_and_out_of_them(tmp_path: Path) -> None:
    special = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 0.1]
    state = {"scalars": special, "array": np.array(special), "tensor": torch.tensor(special)}
    checkpoint.save(tmp_path, state, ABOUT, step=1)
    loaded = checkpoint.load(tmp_path, ABOUT)
    assert same(state, loaded)
    assert math.copysign(1, loaded["scalars"][3]) == -1
    json.loads(
        (tmp_path / "step-000001" / "state.json").read_text(),
        parse_constant=lambda word: pytest.fail(f"{word} is not JSON"),
    )


def test_random_generators_go_on_as_if_nothing_happened(tmp_path: Path) -> None:
    torch_rng, numpy_rng = torch.Generator().manual_seed(3), np.random.default_rng(3)
    torch.rand(7, generator=torch_rng)
    legacy = np.random.MT19937(3)
    state = {
        "torch": torch_rng.get_state(),
        "numpy": numpy_rng.bit_generator.state,
        "legacy": legacy.state,
    }
    checkpoint.save(tmp_path, state, ABOUT, step=1)
    loaded = checkpoint.load(tmp_path, ABOUT)

    torch_again, numpy_again, legacy_again = (
        torch.Generator(),
        np.random.default_rng(),
        np.random.MT19937(0),
    )
    torch_again.set_state(loaded["torch"])
    numpy_again.bit_generator.state = loaded["numpy"]
    legacy_again.state = loaded["legacy"]
    assert torch.rand(5, generator=torch_rng).equal(torch.rand(5, generator=torch_again))
    assert (numpy_rng.normal(size=5) == numpy_again.normal(size=5)).all()
    assert (legacy.random_raw(5) == legacy_again.random_raw(5)).all()


def test_optimizer_moments_shared_memory_and_gradients(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    state = {"weight": weight, "row": weight[0], "column": weight[:, 1], "again": weight}
    checkpoint.save(tmp_path, state, ABOUT, step=1)
    loaded = checkpoint.load(tmp_path, ABOUT)
    assert loaded["column"].equal(torch.tensor([1.0, 4.0]))
    assert loaded["again"].equal(weight) and not loaded["again"].requires_grad


def test_keys_that_look_like_paths_do_not_collide(tmp_path: Path) -> None:
    state = {"a/b": torch.tensor(1), "a": {"b": torch.tensor(2)}, "a~1b": torch.tensor(3)}
    state |= {"a~b": np.array(4), "": np.array(5)}
    checkpoint.save(tmp_path, state, ABOUT, step=1)
    assert same(state, checkpoint.load(tmp_path, ABOUT))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=4))
def test_any_json_state_comes_back(state: dict[str, Any]) -> None:
    assert same(state, checkpoint._decode(checkpoint._encode(state), Path()))


@pytest.mark.parametrize(
    ("leaf", "words"),
    [
        (object(), "object"),
        (np.array(["text"]), "dtype <U4"),
        ({1: "one"}, "string keys, got 1"),
        (b"bytes", "bytes"),
    ],
)
def test_what_can_not_be_saved_is_named_and_nothing_written(
    tmp_path: Path, leaf: Any, words: str
) -> None:
    with pytest.raises(TypeError, match=words) as caught:
        checkpoint.save(tmp_path / "new", {"agent": {"bad": leaf}}, ABOUT, step=1)
    assert "/agent/bad" in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_saving_again_leaves_one_step_folder(tmp_path: Path) -> None:
    for step in (1, 2, 2, 2, 3):
        checkpoint.save(tmp_path, {"step": step}, ABOUT, step=step)
        assert checkpoint.load(tmp_path, ABOUT) == {"step": step}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.json", "step-000003"]


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        checkpoint.load(tmp_path / "nowhere", ABOUT)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    checkpoint.save(tmp_path, {"w": torch.arange(10.0), "n": 3}, ABOUT, step=5)
    return tmp_path


@pytest.mark.parametrize("name", ["arrays.safetensors", "state.json"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[:-1], "truncated"),
        (lambda content: b"", "truncated"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "tampered"),
        (None, "is missing"),
    ],
)
def test_damaged_file(
    saved: Path, name: str, damage: Callable[[bytes], bytes] | None, words: str
) -> None:
    file = saved / "step-000005" / name
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(CheckpointError, match=words) as caught:
        checkpoint.load(saved, ABOUT)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": 1}'])
def test_damaged_manifest(saved: Path, content: str) -> None:
    (saved / "manifest.json").write_text(content)
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint.load(saved, ABOUT)


FINGERPRINT = {"bytes": 1, "sha256": ""}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("about", None),
        ("about", ["task"]),
        ("folder", 5),
        ("folder", "../../step-000005"),
        ("folder", "step-000005/."),
        ("files", {}),
        ("files", []),
        ("files", {"state.json": FINGERPRINT}),
        ("files", {"state.json": FINGERPRINT, "arrays.safetensors": {"sha256": ""}}),
        ("files", {"state.json": FINGERPRINT, "arrays.safetensors": {**FINGERPRINT, "bytes": "1"}}),
        ("files", {"state.json": FINGERPRINT, "arrays.safetensors": FINGERPRINT, "../x": {}}),
    ],
)
def test_tampered_manifest(saved: Path, name: str, value: Any) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    (saved / "manifest.json").write_text(json.dumps(manifest | {name: value}))
    with pytest.raises(CheckpointError, match=f"is damaged: {name} can not be"):
        checkpoint.load(saved, ABOUT)


def test_unknown_format_version(saved: Path) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    (saved / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(CheckpointError, match="expected format version 1, got 99"):
        checkpoint.load(saved, ABOUT)


def test_of_another_task_or_agent(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="another task: expected 'Ant-v5', got 'Pendulum-v1'"):
        checkpoint.load(saved, {**ABOUT, "task": "Ant-v5"})
    with pytest.raises(CheckpointError, match="another agent: expected 'mbpo', got 'pets'"):
        checkpoint.load(saved, {**ABOUT, "agent": "mbpo"})


BIG = {"w": torch.zeros(100_000)}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one big checkpoint but not for two."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_full_disk_leaves_the_previous_checkpoint(small_disk: Path) -> None:
    checkpoint.save(small_disk, {"w": torch.ones(100_000)}, ABOUT, step=1)
    with pytest.raises(OSError, match=r"40\d{4} bytes needed") as caught:
        checkpoint.save(small_disk, BIG, ABOUT, step=2)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(small_disk)
    assert sorted(p.name for p in small_disk.iterdir()) == ["manifest.json", "step-000001"]
    assert checkpoint.load(small_disk, ABOUT)["w"].eq(1).all()


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="checkpoint not written") as caught:
        checkpoint.save(tmp_path / "file", {}, ABOUT, step=1)
    assert caught.value.filename == str(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_file_size_limit_leaves_the_previous_checkpoint(tmp_path: Path, in_child: Child) -> None:
    checkpoint.save(tmp_path, {"w": torch.ones(9)}, ABOUT, step=1)

    def save_beyond_the_limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        with pytest.raises(OSError, match="bytes needed") as caught:
            checkpoint.save(tmp_path, BIG, ABOUT, step=2)
        assert caught.value.errno == errno.EFBIG

    assert in_child(save_beyond_the_limit) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.json", "step-000001"]
    assert checkpoint.load(tmp_path, ABOUT)["w"].eq(1).all()


def save_forever(folder: Path) -> None:
    for step in range(1, 1_000_000):
        checkpoint.save(folder, {"w": torch.full((20_000,), step), "step": step}, ABOUT, step)


def test_killed_at_random_moments(
    tmp_path: Path, killed_after: Callable[[float, Callable[[], None]], int]
) -> None:
    rng = np.random.default_rng(0)
    checkpoint.save(tmp_path, {"w": torch.zeros(1), "step": 0}, ABOUT, step=0)
    for _ in range(20):
        status = killed_after(rng.uniform(0.005, 0.05), lambda: save_forever(tmp_path))
        assert status == signal.SIGKILL
        state = checkpoint.load(tmp_path, ABOUT)
        assert state["w"].eq(state["step"]).all()


SYSTEM_CALLS = [("fsync", n) for n in range(1, 7)] + [("replace", 1), ("rmdir", 1)]
SYSTEM_CALLS += [("unlink", n) for n in range(1, 5)]


@pytest.mark.parametrize(("call", "nth"), SYSTEM_CALLS)
def test_killed_at_every_system_call(
    tmp_path: Path,
    killed_before: Callable[[Any, str, int, Callable[[], None]], int],
    call: str,
    nth: int,
) -> None:
    """Kill the save just before its nth call of one kind; old or new, the checkpoint is whole."""
    checkpoint.save(tmp_path, {"step": 1}, ABOUT, step=1)
    status = killed_before(
        os, call, nth, lambda: checkpoint.save(tmp_path, {"step": 2}, ABOUT, step=2)
    )
    assert status == signal.SIGKILL
    assert checkpoint.load(tmp_path, ABOUT)["step"] in (1, 2)
    checkpoint.save(tmp_path, {"step": 3}, ABOUT, step=3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.json", "step-000003"]


def chunk(value: float) -> Chunk:
    return Chunk(lambda: {"a": np.full((3, 2), value), "b": np.array([True, False, True])})


def chunk_files(folder: Path) -> dict[str, int]:
    """Name and inode of each file of chunks: a file that is written again has another inode."""
    return {path.name: path.stat().st_ino for path in (folder / "chunks").iterdir()}


def test_chunks_come_back_and_are_written_once(tmp_path: Path) -> None:
    first, second, third = chunk(1.0), chunk(2.0), chunk(3.0)
    checkpoint.save(tmp_path, {"old": [first, second]}, ABOUT, step=1)
    before = chunk_files(tmp_path)
    assert before.keys() == {f"{c.digest}.safetensors" for c in (first, second)}
    checkpoint.save(tmp_path, {"old": [chunk(2.0), third], "n": 1}, ABOUT, step=2)
    after = chunk_files(tmp_path)
    assert after.keys() == {f"{c.digest}.safetensors" for c in (second, third)}
    assert after[f"{second.digest}.safetensors"] == before[f"{second.digest}.safetensors"]
    loaded = checkpoint.load(tmp_path, ABOUT)
    assert loaded["n"] == 1
    for expected, got in zip((second, third), loaded["old"], strict=True):
        assert same(dict(expected.arrays()), dict(sorted(got.arrays().items())))
        assert got.digest == expected.digest


def test_chunks_differ_by_names_types_shapes_and_contents() -> None:
    arrays = [
        {"a": np.zeros((2, 3))},
        {"b": np.zeros((2, 3))},
        {"a": np.zeros((3, 2))},
        {"a": np.zeros((2, 3), np.int64)},
        {"a": np.ones((2, 3))},
        {"a": np.zeros((2, 3)), "b": np.zeros(0)},
    ]
    assert len({digest_of(each) for each in arrays}) == len(arrays)
    assert digest_of({"a": np.arange(6).reshape(2, 3).T}) == digest_of(
        {"a": np.array([[0, 3], [1, 4], [2, 5]])}
    )


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[:-1], "damaged|tampered"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "tampered"),
        (None, "is missing"),
    ],
)
def test_damage_to_a_chunk_is_told(
    tmp_path: Path, damage: Callable[[bytes], bytes] | None, words: str
) -> None:
    checkpoint.save(tmp_path, {"c": chunk(1.0)}, ABOUT, step=1)
    (path,) = (tmp_path / "chunks").iterdir()
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    loaded = checkpoint.load(tmp_path, ABOUT)
    with pytest.raises(CheckpointError, match=words):
        loaded["c"].arrays()


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_killed_while_chunks_are_written(
    tmp_path: Path, nth: int, killed_before: Callable[..., int]
) -> None:
    """Before the first or second chunk has its name, or before the manifest is swapped in."""
    checkpoint.save(tmp_path, {"old": [chunk(1.0)]}, ABOUT, step=1)
    new = {"old": [chunk(2.0), chunk(3.0)]}
    killed_before(os, "replace", nth, lambda: checkpoint.save(tmp_path, new, ABOUT, step=2))
    (loaded,) = checkpoint.load(tmp_path, ABOUT)["old"]
    assert (loaded.arrays()["a"] == 1.0).all()
    checkpoint.save(tmp_path, new, ABOUT, step=2)
    assert len(chunk_files(tmp_path)) == 2
    values = [c.arrays()["a"][0, 0] for c in checkpoint.load(tmp_path, ABOUT)["old"]]
    assert values == [2.0, 3.0]
