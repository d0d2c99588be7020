"""Reads MCAP files of ROS 2 messages, ours or those of ``ros2 bag record``, whole or cut off."""

from __future__ import annotations

import io
import logging
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

try:
    from mcap.exceptions import McapError
    from mcap.records import Channel, Message, Schema
    from mcap.stream_reader import StreamReader
    from mcap_ros2.decoder import DecoderFactory
    from zstandard import ZstdError
except ImportError as error:
    raise ImportError(
        f"recordings: expected mcap and mcap-ros2-support, got {error}; "
        "pip install 'mpc-robot[mcap]'"
    ) from error

from mpc_robot.errors import require
from mpc_robot.runtime.events import Event
from mpc_robot.runtime.mcap_writer import TOPICS

Floats = npt.NDArray[np.float64]
_LOG = logging.getLogger(__name__)
_MAGIC = b"\x89MCAP0\r\n"


@dataclass(frozen=True)
class Signal:
    """The messages of one topic.

    Attributes:
        times: ``[N]``, s since the recording's first message.
        numbers: ``[N]``, as their sender numbered them.
        values: ``[N, V]``; of a JointState the positions, then the velocities.
        names: the joints of a JointState.
    """

    times: Floats
    numbers: npt.NDArray[np.int64]
    values: Floats
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recording:
    """What is in a file.

    Attributes:
        signals: by topic.
        events: what happened; their stamps count like a signal's times.
        whole: whether the file was finished; one that was not ends with its last whole chunk.
    """

    signals: dict[str, Signal]
    events: tuple[Event, ...]
    whole: bool


@dataclass(frozen=True)
class _Row:
    """A decoded message: when it was sent, ns, its number, what it says, and of which joints."""

    stamp: int
    number: int
    value: Any
    names: tuple[str, ...] = ()


def read_recording(path: Path, *others: str) -> Recording:
    """Read what there is of a recording, which may be cut off anywhere.

    Args:
        path: the file.
        others: topics to read beside those that a recorder writes; whatever else there is, and
            types other than JointState, Float64MultiArray and String, are passed over.

    Raises:
        ValueError: if it is no MCAP file, or a topic's messages are not of one shape.
    """
    rows: dict[str, list[_Row]] = defaultdict(list)
    with path.open("rb") as file:
        if file.peek(len(_MAGIC))[: len(_MAGIC)] != _MAGIC:
            raise ValueError(f"{path}: expected an MCAP file, got one that begins otherwise")
        try:
            for topic, row in _rows(file, {*TOPICS, *others}):
                rows[topic].append(row)
        except (McapError, ZstdError, struct.error, ValueError) as error:
            _LOG.warning("%s: cut off or damaged, read up to there: %r", path, error)
            return _recording(rows, whole=False)
    return _recording(rows, whole=True)


def _rows(file: io.BufferedReader, topics: set[str]) -> Iterator[tuple[str, _Row]]:
    """Each message of a topic and a type to be read, decoded, in the file's order."""
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    decoders = DecoderFactory()
    for record in StreamReader(file, validate_crcs=True).records:
        if isinstance(record, Schema):
            schemas[record.id] = record
        elif isinstance(record, Channel):
            channels[record.id] = record
        elif isinstance(record, Message):
            channel = channels[record.channel_id]
            schema = schemas.get(channel.schema_id)
            if channel.topic not in topics or schema is None or schema.name not in _UNDERSTOOD:
                continue
            if (decode := decoders.decoder_for(channel.message_encoding, schema)) is not None:
                value, names = _UNDERSTOOD[schema.name](decode(record.data))
                yield channel.topic, _Row(record.log_time, record.sequence, value, names)


def _joint_state(message: Any) -> tuple[Floats, tuple[str, ...]]:
    """Positions and velocities, and of which joints."""
    return np.array([*message.position, *message.velocity]), tuple(message.name)


_UNDERSTOOD: dict[str, Callable[[Any], tuple[Any, tuple[str, ...]]]] = {
    "std_msgs/msg/String": lambda message: (message.data, ()),
    "std_msgs/msg/Float64MultiArray": lambda message: (np.array(message.data), ()),
    "sensor_msgs/msg/JointState": _joint_state,
}


def _recording(rows: dict[str, list[_Row]], whole: bool) -> Recording:
    """The rows in columns."""
    began = min((row.stamp for column in rows.values() for row in column), default=0)
    events, signals = [], {}
    for topic, column in rows.items():
        if isinstance(column[0].value, str):
            events += [_event(row, began) for row in column]
        else:
            signals[topic] = _signal(topic, column, began)
    return Recording(signals, tuple(events), whole)


def _event(row: _Row, began: int) -> Event:
    """What a String says: a name, and after a colon a reason."""
    name, _, reason = row.value.partition(": ")
    return Event((row.stamp - began) * 1e-9, name, reason)


def _signal(topic: str, column: list[_Row], began: int) -> Signal:
    """The messages of a topic, which must all be alike."""
    first = column[0]
    for row in column:
        alike = row.value.shape == first.value.shape and row.names == first.names
        require(alike, topic, f"{first.value.size} numbers of {first.names} as at first", row)
    times = np.array([row.stamp - began for row in column]) * 1e-9
    numbers = np.array([row.number for row in column])
    return Signal(times, numbers, np.stack([row.value for row in column]), first.names)
