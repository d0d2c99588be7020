"""The ``mpc-robot`` command."""

from mpc_robot.cli.command import main

__all__ = ["main"]
