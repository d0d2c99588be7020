"""Tasks seen as pixels: frames in place of vectors, and actions held for several control steps."""

from __future__ import annotations

import copy
import importlib
import os
import sys
import weakref
from collections import deque
from functools import cache
from typing import Any, SupportsFloat

import gymnasium as gym
import mujoco
import numpy as np
import numpy.typing as npt

from mpc_robot.envs.base import Frame, View, physics_state
from mpc_robot.errors import RenderingUnavailable, require

SIZE = 64
"""Width and height of a frame, pixels (World Models, arXiv:1803.10122, and all since)."""
CONTROL_STEPS = "control_steps"
"""Where ``info`` tells for how many control steps an action was held."""

_BACKENDS = {"linux": "egl", "darwin": "cgl"}
_GEOMS = 10_000
_ABANDONED: deque[tuple[Any, mujoco.MjrContext]] = deque()
"""OpenGL contexts of cameras that nobody closed, with what MuJoCo keeps in them."""


def split_view(name: str) -> tuple[str, View]:
    """What a task is called without its view, and the view: ``Hopper-v5+pixels+repeat2``.

    Raises:
        ValueError: if what follows a ``+`` is none of ``pixels``, ``stackN`` and ``repeatN``.
    """
    name, *words = name.split("+")
    said: dict[str, Any] = {}
    for word in words:
        key = word.rstrip("0123456789")
        value, counts = word[len(key) :], key in ("stack", "repeat")
        known = (counts or key == "pixels") and bool(value) == counts and key not in said
        require(known, "task", "a name, then +pixels, +stackN or +repeatN", word)
        said[key] = int(value) if counts else True
    return name, View(**said)


class Camera:
    """Draws a MuJoCo model in any state, plainly: without shadows, reflections or a window."""

    def __init__(self, model: mujoco.MjModel, camera: int = -1, size: int = SIZE) -> None:
        """Look at a copy of the model as it now is.

        Args:
            model: what to draw.
            camera: number of the camera in the model; -1 for one that sees all of it at its start.
            size: width and height of a frame, pixels.

        Raises:
            RenderingUnavailable: if there is no OpenGL to draw with.
        """
        _free_abandoned()
        self._size = size
        self.draw(model)
        self._data = mujoco.MjData(self._model)
        self._gl = drawing_context(size)
        self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(self._model, _GEOMS)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        self._camera, self._options = mujoco.MjvCamera(), mujoco.MjvOption()
        if camera < 0:
            mujoco.mjv_defaultFreeCamera(self._model, self._camera)
        else:
            self._camera.type, self._camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, camera
        self._left = weakref.finalize(self, _ABANDONED.append, (self._gl, self._context))
        self._left.atexit = False

    def draw(self, model: mujoco.MjModel) -> None:
        """Draw a model of the same parts from now on, as it now is: a goal may have moved in it."""
        self._model = copy.copy(model)
        self._model.vis.quality.shadowsize = 0
        self._model.vis.quality.offsamples = 4  # thin poles move by fractions of a pixel
        self._model.vis.global_.offwidth = self._model.vis.global_.offheight = self._size

    def frame(self, state: npt.NDArray[np.float64]) -> Frame:
        """The frame ``[size, size, 3]`` of a physics state ``[S]``; the same state, the same bits.

        See :func:`mpc_robot.envs.base.physics_state`.

        Raises:
            RenderingUnavailable: if OpenGL could not draw it.
        """
        _free_abandoned()
        mujoco.mj_setState(self._model, self._data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        mujoco.mj_forward(self._model, self._data)  # positions are behind by one physics step
        self._gl.make_current()
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(
            self._model, self._data, self._options, None, self._camera, everything, self._scene
        )
        frame, viewport = self._empty(), mujoco.MjrRect(0, 0, self._size, self._size)
        mujoco.mjr_render(viewport, self._scene, self._context)
        mujoco.mjr_readPixels(frame, None, viewport, self._context)
        if error := mujoco.mjr_getError():
            raise RenderingUnavailable(f"a frame could not be drawn: error {error} of OpenGL")
        return np.ascontiguousarray(frame[::-1])  # OpenGL counts rows from below

    def close(self) -> None:
        """Let go of the drawing buffers; it draws no more."""
        if self._left.detach():
            _free(self._gl, self._context)

    def _empty(self) -> Frame:
        return np.empty((self._size, self._size, 3), dtype=np.uint8)


def _free(gl: Any, context: mujoco.MjrContext) -> None:
    """Free what MuJoCo keeps in an OpenGL context, which must be current then, and the context."""
    gl.make_current()
    context.free()
    gl.free()


def _free_abandoned() -> None:
    """Free what cameras left that nobody closed.

    Left to the garbage collector, it would be freed in the context that is current by chance, and
    another camera would draw nothing from then on.
    """
    while _ABANDONED:
        _free(*_ABANDONED.popleft())


def drawing_context(size: int) -> Any:
    """MuJoCo's OpenGL context without a window, made current.

    It is of the kind that ``MUJOCO_GL`` names, which by default becomes ``egl`` on Linux and
    ``cgl`` on macOS, so that Gymnasium draws by the same.

    Raises:
        RenderingUnavailable: saying what is missing, and how to get it.
    """
    kind = os.environ.setdefault("MUJOCO_GL", _BACKENDS.get(sys.platform, "glfw"))
    os.environ.setdefault("LP_NUM_THREADS", "0")  # Mesa's threads cost more than such a frame
    try:
        context = importlib.import_module(f"mujoco.{kind}").GLContext(size, size)
        context.make_current()
    except Exception as error:  # each OpenGL stack fails in its own way
        reason = str(error).partition("\n")[0]
        raise RenderingUnavailable(
            f"pixels can not be drawn by {kind} ({type(error).__name__}: {reason}); expected EGL: "
            "on Debian or Ubuntu, apt-get install libegl1 libgl1-mesa-dri and leave MUJOCO_GL "
            "unset; or another OpenGL named by MUJOCO_GL (egl, osmesa or glfw)"
        ) from error
    return context


def camera_of(env: gym.Env[Any, Any]) -> int:
    """The camera that an environment is best seen from: its own, the model's first, or -1."""
    base: Any = env.unwrapped
    own = getattr(getattr(base, "mujoco_renderer", None), "camera_id", None)
    if own is not None and own >= 0:
        return int(own)
    return 0 if base.model.ncam else -1


@cache
def shares(given: int, wanted: int) -> npt.NDArray[np.float32]:
    """Shares of ``given`` pixels in each of as many as ``wanted`` in a row, ``[wanted, given]``.

    They sum to 1, so that a product with them averages over areas.
    """
    edges, pixel = np.arange(wanted + 1)[:, None] * (given / wanted), np.arange(given)
    overlap = np.minimum(edges[1:], pixel + 1) - np.maximum(edges[:-1], pixel)
    within: npt.NDArray[np.float32] = (overlap.clip(0.0) * (wanted / given)).astype(np.float32)
    return within


def scaled(frame: Frame, size: int = SIZE) -> Frame:
    """A frame ``[H, W, C]`` as ``[size, size, C]``, each pixel the mean of the area it covers."""
    rows, columns = (shares(side, size) for side in frame.shape[:2])
    tall = np.tensordot(rows, frame.astype(np.float32), axes=(1, 0))
    mean = np.tensordot(columns, tall, axes=(1, 1)).swapaxes(0, 1)
    return mean.round().astype(np.uint8)


def _shows_frames(env: gym.Env[Any, Any]) -> bool:
    """Whether the environment's own observations are pictures in colour."""
    space = env.observation_space
    shape = space.shape or ()
    return space.dtype == np.uint8 and len(shape) == 3 and shape[2] == 3


class Pixels(gym.Wrapper[Frame, Any, Any, Any]):
    """Observe by frames of 64 x 64 pixels, in place of the environment's own observation.

    MuJoCo environments are seen by a camera; of those that show frames themselves, such as
    Gymnasium's CarRacing, the frames are scaled.
    """

    def __init__(self, env: gym.Env[Any, Any], stack: int = 1) -> None:
        """Observe the last ``stack`` frames.

        Raises:
            TypeError: if the environment is neither simulated by MuJoCo nor shows frames.
            RenderingUnavailable: if there is no OpenGL to draw with.
        """
        super().__init__(env)
        base: Any = env.unwrapped
        simulated = isinstance(getattr(base, "model", None), mujoco.MjModel)
        if not simulated and not _shows_frames(env):
            raise TypeError(f"pixels: expected a MuJoCo environment or one of frames, got {base!r}")
        self._base = base
        self.camera = Camera(base.model, camera_of(env)) if simulated else None
        self._frames = deque[Frame](maxlen=stack)
        self.observation_space = gym.spaces.Box(0, 255, (SIZE, SIZE, 3 * stack), np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frame, dict[str, Any]]:
        """Reset; as many of the first frame as are observed."""
        own, info = self.env.reset(seed=seed, options=options)
        if self.camera is not None:
            self.camera.draw(self._base.model)
        frame = self._frame(own)
        self._frames.extend([frame] * (self._frames.maxlen or 1))
        return self._observation(), info

    def step(self, action: Any) -> tuple[Frame, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step; the last frames, newest last."""
        own, reward, terminated, truncated, info = self.env.step(action)
        self._frames.append(self._frame(own))
        return self._observation(), reward, terminated, truncated, info

    def render(self) -> Any:
        """The environment's own picture, in its own context of OpenGL."""
        viewer = getattr(getattr(self.env.unwrapped, "mujoco_renderer", None), "viewer", None)
        if viewer is not None:
            viewer.make_context_current()
        return self.env.render()

    def close(self) -> None:
        """Close camera and environment."""
        if self.camera is not None:
            self.camera.close()
        self.env.close()

    def _frame(self, own: Any) -> Frame:
        """What is seen now, where the environment's own observation is ``own``."""
        if self.camera is not None:
            return self.camera.frame(physics_state(self.env))
        return scaled(own)

    def _observation(self) -> Frame:
        return np.concatenate(self._frames, axis=-1)


class ActionRepeat(gym.Wrapper[Any, Any, Any, Any]):
    """Hold each action for several control steps, and sum their rewards."""

    def __init__(self, env: gym.Env[Any, Any], repeat: int) -> None:
        """Hold each action for ``repeat`` control steps, or to the end of the episode."""
        super().__init__(env)
        self.action_repeat = repeat

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """The last observation, the sum of rewards, and what ended the episode if anything did."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        total, taken = float(reward), 1
        while taken < self.action_repeat and not (terminated or truncated):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total, taken = total + float(reward), taken + 1
        return observation, total, terminated, truncated, {**info, CONTROL_STEPS: taken}
