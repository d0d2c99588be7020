"""Real-time scheduling: a thread that nothing ordinary keeps waiting."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mpc_robot.errors import RealTimeRefusedError

PRIORITY = 1
"""The least in real time: before everything ordinary, after the kernel's own threads."""


@contextmanager
def fifo_scheduling() -> Iterator[None]:
    """Run the calling thread under ``SCHED_FIFO``, and as before afterwards.

    Processes that it forks and threads that it starts meanwhile are ordinary ones.

    Raises:
        RealTimeRefusedError: if the system refuses; nothing is changed then.
    """
    if sys.platform != "linux":
        raise RealTimeRefusedError(f"real_time: expected Linux, got {sys.platform}")
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    fifo = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    try:
        os.sched_setscheduler(0, fifo, os.sched_param(PRIORITY))
    except PermissionError:
        raise RealTimeRefusedError(f"real_time: expected {_missing()}") from None
    try:
        yield
    finally:
        try:
            os.sched_setscheduler(0, policy, parameters)
        except PermissionError:  # the reset on fork stays without CAP_SYS_NICE, and does no harm
            os.sched_setscheduler(0, policy | os.SCHED_RESET_ON_FORK, parameters)


def _missing() -> str:
    """What it takes, and what there is of it."""
    limit, _ = resource.getrlimit(resource.RLIMIT_RTPRIO)
    return (
        f"CAP_SYS_NICE, or an RLIMIT_RTPRIO of {PRIORITY} or more (`ulimit -r`, rtprio in "
        "/etc/security/limits.conf), and real time left to the control group "
        f"(cpu.rt_runtime_us), got EPERM with an RLIMIT_RTPRIO of {limit}"
    )
