"""Configs to JSON and back: frozen dataclasses, nested, with unions, literals and tuples."""

from __future__ import annotations

import dataclasses
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Config = TypeVar("Config")


def to_json(config: Any) -> Any:
    """JSON values of a config; each dataclass carries its class name as ``type``."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        fields = {f.name: to_json(getattr(config, f.name)) for f in dataclasses.fields(config)}
        return {"type": type(config).__name__, **fields}
    if isinstance(config, list | tuple):
        return [to_json(item) for item in config]
    return config


def from_json(kind: type[Config], value: Any, at: str = "config") -> Config:
    """The config of class ``kind`` that ``to_json`` was given.

    Raises:
        ValueError: if a field is missing, unknown or of another type; names the field.
    """
    return _rebuild(kind, value, at)  # type: ignore[no-any-return]


def _rebuild(kind: Any, value: Any, at: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _rebuild_dataclass(kind, value, at)
    if origin in (Union, UnionType):
        return _rebuild(_member(arguments, value, at), value, at)
    if origin is Literal:
        _require(value in arguments, f"one of {list(arguments)}", value, at)
        return value
    if origin is tuple:
        return _rebuild_tuple(arguments, value, at)
    if kind is float and type(value) is int:
        return float(value)
    _require(type(value) is kind, getattr(kind, "__name__", str(kind)), value, at)
    return value


def _rebuild_tuple(kinds: tuple[Any, ...], value: Any, at: str) -> tuple[Any, ...]:
    _require(isinstance(value, list), "a list", value, at)
    if Ellipsis in kinds:
        kinds = (kinds[0],) * len(value)
    _require(len(kinds) == len(value), f"{len(kinds)} entries", value, at)
    items = enumerate(zip(kinds, value, strict=True))
    return tuple(_rebuild(kind, item, f"{at}[{i}]") for i, (kind, item) in items)


def _rebuild_dataclass(kind: Any, value: Any, at: str) -> Any:
    _require(isinstance(value, dict), f"an object for {kind.__name__}", value, at)
    hints = get_type_hints(kind)
    given = {key: item for key, item in value.items() if key != "type"}
    for name in sorted(hints.keys() - given.keys()):
        raise ValueError(f"{at}.{name}: missing")
    for name in sorted(given.keys() - hints.keys()):
        raise ValueError(f"{at}.{name}: not a field of {kind.__name__}")
    return kind(**{name: _rebuild(hints[name], given[name], f"{at}.{name}") for name in given})


def _member(members: tuple[Any, ...], value: Any, at: str) -> Any:
    """The member of a union that ``value`` belongs to; dataclasses go by their name."""
    if value is None and NoneType in members:
        return NoneType
    if isinstance(value, dict):
        fitting = [m for m in members if getattr(m, "__name__", None) == value.get("type")]
    else:
        fitting = [m for m in members if _fits(m, value)]
    _require(bool(fitting), f"one of {[getattr(m, '__name__', m) for m in members]}", value, at)
    return fitting[0]


def _fits(kind: Any, value: Any) -> bool:
    try:
        _rebuild(kind, value, "")
    except ValueError:
        return False
    return True


def _require(holds: bool, expected: str, got: Any, at: str) -> None:
    if not holds:
        raise ValueError(f"{at}: expected {expected}, got {got!r}")
