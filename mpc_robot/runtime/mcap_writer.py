"""The process behind a recorder: messages come down a pipe and go into an MCAP file.

It is run as a script, so that it starts at once and shares nothing with the process that controls
a robot. When that process dies, the pipe ends, and the file is finished as if it had been closed.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Iterator
from typing import IO, Any

from mcap.writer import Writer

FRAME = struct.Struct("<BIqI")
"""What is before each message in the pipe: topic (0 ends), number, stamp in ns, bytes."""
FLUSH = 0.25
"""How long messages may be nowhere but in memory, s."""
PIPE = 1 << 20
"""Bytes that may be in the pipe, where the system lets one choose."""
_TURN = 0.05  # s between looks at the pipe

_ARRAY = """std_msgs/MultiArrayLayout layout
float64[] data
================================================================================
MSG: std_msgs/MultiArrayLayout
MultiArrayDimension[] dim
uint32 data_offset
================================================================================
MSG: std_msgs/MultiArrayDimension
string label
uint32 size
uint32 stride
"""
_JOINTS = """std_msgs/Header header
string[] name
float64[] position
float64[] velocity
float64[] effort
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
================================================================================
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
"""
DEFINITIONS = {
    "sensor_msgs/msg/JointState": _JOINTS,
    "std_msgs/msg/Float64MultiArray": _ARRAY,
    "std_msgs/msg/String": "string data\n",
}
"""Message types as ROS 2 defines them (common_interfaces 5.3), without the comments."""
TOPICS = {
    "/joint_states": "sensor_msgs/msg/JointState",
    "/physics_state": "std_msgs/msg/Float64MultiArray",
    "/observation": "std_msgs/msg/Float64MultiArray",
    "/commands": "std_msgs/msg/Float64MultiArray",
    "/events": "std_msgs/msg/String",
}
"""Type of each topic; a topic's place, from 1, is its number in the pipe and in the file."""


def write(pipe: int, file: IO[bytes]) -> None:
    """Write all messages of ``pipe`` into ``file``; whole chunks reach it every ``FLUSH`` s."""
    writer: Any = Writer(file)
    writer.start(profile="ros2", library="mpc-robot")
    schemas = {
        name: writer.register_schema(name, "ros2msg", text.encode())
        for name, text in DEFINITIONS.items()
    }
    for topic, kind in TOPICS.items():
        writer.register_channel(topic, "cdr", schemas[kind])
    due = time.monotonic() + FLUSH
    for messages in _arriving(pipe):
        for channel, number, stamp, data in messages:
            writer.add_message(channel, stamp, data, stamp, number)
        if time.monotonic() >= due:
            writer.flush()
            due = time.monotonic() + FLUSH
    writer.finish()
    file.flush()


def _arriving(pipe: int) -> Iterator[list[tuple[int, int, int, bytes]]]:
    """What came since the last look, often nothing, until the pipe ends or is ended."""
    os.set_blocking(pipe, False)
    received, ended = bytearray(), False
    while not ended:
        time.sleep(_TURN)  # instead of waiting: then sending wakes nobody, and costs less
        try:
            got = os.read(pipe, PIPE)
            ended = not got
            received += got
        except BlockingIOError:
            pass
        messages, used = _whole(received)
        del received[:used]
        ended = ended or any(message[0] == 0 for message in messages)
        yield [message for message in messages if message[0] != 0]


def _whole(received: bytearray) -> tuple[list[tuple[int, int, int, bytes]], int]:
    """The messages that have come whole, and how many bytes they take."""
    messages, used = [], 0
    while used + FRAME.size <= len(received):
        topic, number, stamp, size = FRAME.unpack_from(received, used)
        end = used + FRAME.size + size
        if end > len(received):
            break
        messages.append((topic, number, stamp, bytes(received[used + FRAME.size : end])))
        used = end
    return messages, used


if __name__ == "__main__":
    write(sys.stdin.fileno(), sys.stdout.buffer)
