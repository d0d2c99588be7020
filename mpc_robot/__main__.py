"""``python -m mpc_robot`` is ``mpc-robot``."""

import sys

from mpc_robot.cli import main

sys.exit(main())
