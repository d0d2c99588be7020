"""Checkpoints that survive a kill at any moment: safetensors and JSON, never pickle.

A checkpoint folder holds ``step-000500/arrays.safetensors``, ``step-000500/state.json`` and a
``manifest.json`` that names the step folder and the digest of each file. Saving completes a new
step folder first and then swaps the manifest in, so there is always one whole checkpoint. Data that
never change (:class:`mpc_robot.data.chunks.Chunk`) lie in ``chunks/``, named by their SHA-256, and
are written once: later checkpoints refer to them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from mpc_robot.data.chunks import Chunk, digest_of
from mpc_robot.errors import CheckpointError

FORMAT = 1

_MANIFEST = "manifest.json"
_MANIFEST_DRAFT = "manifest.json.tmp"
_ARRAYS = "arrays.safetensors"
_VALUES = "state.json"
_CHUNKS = "chunks"
_FROM_TENSOR: dict[str, Callable[[torch.Tensor], Any]] = {
    "torch": lambda tensor: tensor,
    "numpy": torch.Tensor.numpy,
    "float": torch.Tensor.item,
}
_STEP_FOLDER = re.compile(r"step-\d{6,}(-again)?")


def save(folder: Path, state: Mapping[str, Any], about: Mapping[str, Any], step: int) -> None:
    """Replace the checkpoint in ``folder``; until the very end the previous one stays readable.

    Args:
        folder: where the checkpoint lives; made if missing.
        state: nested, with string keys; leaves are tensors, numpy arrays, chunks or JSON values.
        about: what the checkpoint belongs to, such as ``{"task": ..., "agent": ...}``.
        step: names the step folder.

    Raises:
        TypeError: if a leaf can not be saved; names the leaf.
        OSError: if the disk is full or the folder can not be written; the previous checkpoint is
            intact and the message names the folder and the bytes needed.
    """
    files, chunks = _encode(state), {chunk.digest: chunk for chunk in _chunks_in(state)}
    current = _current(folder)
    name = f"step-{step:06d}"
    if current and name == current["folder"]:
        name += "-again"
    manifest = {
        "format": FORMAT,
        "about": dict(about),
        "folder": name,
        "files": {file: _fingerprint(content) for file, content in files.items()},
        "chunks": sorted(chunks),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_all_but(folder, current)
        _write_files(folder / name, files)
        _write_chunks(folder / _CHUNKS, chunks)
        _write_synced(folder / _MANIFEST_DRAFT, json.dumps(manifest, indent=1).encode())
        _sync_folder(folder)
        os.replace(folder / _MANIFEST_DRAFT, folder / _MANIFEST)
        _sync_folder(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            _remove_all_but(folder, _current(folder))
        needed = sum(len(content) for content in files.values()) + _size(chunks.values())
        raise OSError(
            error.errno,
            f"checkpoint not written, {needed} bytes needed ({error.strerror}); "
            "the previous one is intact",
            str(folder),
        ) from error
    _remove_all_but(folder, manifest)


def load(folder: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """The state that was saved, bit for bit; tuples come back as lists, tensors on the CPU.

    Chunks are read when they are asked for, and raise CheckpointError then if they are damaged.

    Raises:
        CheckpointError: if it is missing, truncated, tampered with, of another format version, or
            if an entry of ``about`` differs from the one it was saved with.
    """
    manifest = _read_manifest(folder)
    _check_about(folder, expected=about, got=manifest["about"])
    files = {
        name: _read_verified(folder / manifest["folder"] / name, fingerprint)
        for name, fingerprint in manifest["files"].items()
    }
    return _decode(files, folder / _CHUNKS)


def _encode(state: Mapping[str, Any]) -> dict[str, bytes]:
    """The two files of a checkpoint. Arrays are keyed by their JSON pointer (RFC 6901)."""
    arrays: dict[str, torch.Tensor] = {}
    kinds: dict[str, str] = {}
    values = _split(state, "", arrays, kinds)
    document = {"arrays": kinds, "values": values}
    return {
        _ARRAYS: safetensors.torch.save(arrays),
        _VALUES: json.dumps(document, allow_nan=False).encode(),
    }


def _split(value: Any, pointer: str, arrays: dict[str, torch.Tensor], kinds: dict[str, str]) -> Any:
    """The JSON part of ``value``; arrays and non-finite floats leave a null and go elsewhere."""
    if isinstance(value, Chunk):
        kinds[pointer], value = "chunk", value.digest
    match value:
        case torch.Tensor() | np.ndarray():
            arrays[pointer] = _as_tensor(value, pointer)
            kinds[pointer] = "torch" if isinstance(value, torch.Tensor) else "numpy"
            return None
        case Mapping():
            return {
                _checked_key(key, pointer): _split(item, f"{pointer}/{_escape(key)}", arrays, kinds)
                for key, item in value.items()
            }
        case list() | tuple():
            return [_split(item, f"{pointer}/{i}", arrays, kinds) for i, item in enumerate(value)]
        case float() if not math.isfinite(value):  # JSON has no word for these
            arrays[pointer] = torch.tensor(value, dtype=torch.float64)
            kinds[pointer] = "float"
            return None
        case np.generic():
            return _split(value.item(), pointer, arrays, kinds)
        case None | bool() | int() | float() | str():
            return value
        case _:
            raise TypeError(
                f"state at {pointer!r}: expected a tensor, a numpy array, a chunk or a JSON value, "
                f"got {type(value).__name__}"
            )


def _as_tensor(array: Any, pointer: str) -> torch.Tensor:
    """A contiguous copy, since safetensors refuses tensors that share memory."""
    try:
        tensor = array.detach().cpu() if isinstance(array, torch.Tensor) else torch.tensor(array)
    except TypeError as error:
        raise TypeError(
            f"state at {pointer!r}: arrays of dtype {array.dtype} can not be saved"
        ) from error
    return tensor.clone(memory_format=torch.contiguous_format)


def _checked_key(key: Any, pointer: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"state at {pointer!r}: expected string keys, got {key!r}")
    return key


def _escape(key: Any) -> str:
    return str(key).replace("~", "~0").replace("/", "~1")


def _decode(files: Mapping[str, bytes], chunks: Path) -> dict[str, Any]:
    document = json.loads(files[_VALUES])
    arrays, kinds = safetensors.torch.load(files[_ARRAYS]), document["arrays"]
    return _join(document["values"], "", arrays, kinds, chunks)  # type: ignore[no-any-return]


def _join(
    value: Any,
    pointer: str,
    arrays: Mapping[str, torch.Tensor],
    kinds: Mapping[str, str],
    chunks: Path,
) -> Any:
    """The inverse of ``_split``; ``chunks`` is the folder of chunks."""
    kind = kinds.get(pointer)
    if kind == "chunk":
        return Chunk(partial(_read_chunk, chunks, value))
    if kind is not None:
        return _FROM_TENSOR[kind](arrays[pointer])
    if isinstance(value, dict):
        return {
            key: _join(item, f"{pointer}/{_escape(key)}", arrays, kinds, chunks)
            for key, item in value.items()
        }
    if isinstance(value, list):
        parts = enumerate(value)
        return [_join(item, f"{pointer}/{i}", arrays, kinds, chunks) for i, item in parts]
    return value


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint in {folder}: {_MANIFEST} is missing") from None
    except ValueError as error:
        raise CheckpointError(f"{folder / _MANIFEST} is damaged: {error}") from error
    if not isinstance(manifest, dict) or "format" not in manifest:
        raise CheckpointError(f"{folder / _MANIFEST} is damaged: no format version in it")
    if manifest["format"] != FORMAT:
        raise CheckpointError(
            f"checkpoint in {folder}: expected format version {FORMAT}, got {manifest['format']}"
        )
    sound = {
        "about": isinstance(manifest.get("about"), dict),
        "folder": _STEP_FOLDER.fullmatch(str(manifest.get("folder"))),
        "files": _are_fingerprints(manifest.get("files")),
        "chunks": isinstance(manifest.get("chunks", []), list),
    }
    for name, is_sound in sound.items():
        if not is_sound:
            raise CheckpointError(
                f"{folder / _MANIFEST} is damaged: {name} can not be {manifest.get(name)!r}"
            )
    return manifest


def _are_fingerprints(files: Any) -> bool:
    """Whether these are the sizes and digests of just the two files of a checkpoint."""
    if not isinstance(files, dict) or files.keys() != {_ARRAYS, _VALUES}:
        return False
    return all(
        isinstance(given, dict)
        and {key: type(value) for key, value in given.items()} == {"bytes": int, "sha256": str}
        for given in files.values()
    )


def _current(folder: Path) -> dict[str, Any] | None:
    """The manifest of the checkpoint, if there is one."""
    return _read_manifest(folder) if (folder / _MANIFEST).exists() else None


def _check_about(folder: Path, expected: Mapping[str, Any], got: Mapping[str, Any]) -> None:
    for key, value in json.loads(json.dumps(dict(expected))).items():
        if got.get(key) != value:
            raise CheckpointError(
                f"checkpoint in {folder} is of another {key}: "
                f"expected {value!r}, got {got.get(key)!r}"
            )


def _fingerprint(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _read_verified(path: Path, fingerprint: Mapping[str, Any]) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint file {path} is missing") from None
    if len(content) != fingerprint["bytes"]:
        raise CheckpointError(
            f"checkpoint file {path} is truncated or padded: "
            f"expected {fingerprint['bytes']} bytes, got {len(content)}"
        )
    if _fingerprint(content) != fingerprint:
        raise CheckpointError(f"checkpoint file {path} was tampered with: sha256 differs")
    return content


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for name, content in files.items():
        _write_synced(folder / name, content)
    _sync_folder(folder)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, not only the contents of its files."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_all_but(folder: Path, manifest: Mapping[str, Any] | None) -> None:
    """Remove what a killed or failed save, or the checkpoint before, has left behind."""
    kept = manifest or {}
    (folder / _MANIFEST_DRAFT).unlink(missing_ok=True)
    for old in folder.glob("step-*"):
        if old.name != kept.get("folder"):
            shutil.rmtree(old, ignore_errors=True)
    chunks = {_chunk_file(digest) for digest in kept.get("chunks", [])}
    for old in (folder / _CHUNKS).glob("*"):
        if old.name not in chunks:
            old.unlink()


# Chunks: each a file of its own, named by what is in it.


def _chunks_in(value: Any) -> Iterator[Chunk]:
    """Every chunk of a state."""
    match value:
        case Chunk():
            yield value
        case Mapping():
            for item in value.values():
                yield from _chunks_in(item)
        case list() | tuple():
            for item in value:
                yield from _chunks_in(item)


def _chunk_file(digest: str) -> str:
    return f"{digest}.safetensors"


def _size(chunks: Iterable[Chunk]) -> int:
    return sum(array.nbytes for chunk in chunks for array in chunk.arrays().values())


def _write_chunks(folder: Path, chunks: Mapping[str, Chunk]) -> None:
    """Write those that are not there yet, each under its name only once it is whole."""
    missing = [digest for digest in chunks if not (folder / _chunk_file(digest)).exists()]
    if not missing:
        return
    folder.mkdir(exist_ok=True)
    for digest in missing:
        draft = folder / f"{digest}.tmp"
        arrays = {name: _as_tensor(a, name) for name, a in chunks[digest].arrays().items()}
        _write_synced(draft, safetensors.torch.save(arrays))
        os.replace(draft, folder / _chunk_file(digest))
    _sync_folder(folder)


def _read_chunk(folder: Path, digest: str) -> dict[str, Any]:
    """The arrays of a chunk, which must be those that it is named by."""
    path = folder / _chunk_file(digest)
    try:
        arrays = {n: t.numpy() for n, t in safetensors.torch.load(path.read_bytes()).items()}
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint file {path} is missing") from None
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"checkpoint file {path} is damaged: {error}") from error
    if digest_of(arrays) != digest:
        raise CheckpointError(f"checkpoint file {path} was tampered with: sha256 differs")
    return arrays
