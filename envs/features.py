"""What an observation is made of: named numbers that follow from the state of a MuJoCo model.

Fields that MuJoCo derives from the state (``xpos``, ``cvel``, ``sensordata`` …) are, after a step,
those of the step's last physics stage: they lag ``qpos`` and ``qvel`` by one timestep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import mujoco
import numpy as np

from mpc_robot.envs.arrays import Array
from mpc_robot.envs.base import Observation
from mpc_robot.envs.wrappers import read_fields
from mpc_robot.errors import UnknownNameError

Fields = Mapping[str, Observation]
MotionFn = Callable[[Observation], Observation]
"""Where something is over time, in NumPy: time ``[...]``, s -> position ``[..., 3]``, m."""
Axis = Literal["x", "y", "z"]

SITE, BODY = mujoco.mjtObj.mjOBJ_SITE, mujoco.mjtObj.mjOBJ_BODY
JOINT, SENSOR = mujoco.mjtObj.mjOBJ_JOINT, mujoco.mjtObj.mjOBJ_SENSOR
CAMERA, KEY = mujoco.mjtObj.mjOBJ_CAMERA, mujoco.mjtObj.mjOBJ_KEY
CLOCK = mujoco.mjtSensor.mjSENS_CLOCK


@dataclass(frozen=True)
class Scene:
    """What features are looked up in.

    Attributes:
        model: the compiled model.
        motions: known motions of bodies, by name, such as a mocap target's.
    """

    model: mujoco.MjModel
    motions: Mapping[str, MotionFn] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """A feature of one model.

    Attributes:
        fields: MjData fields that it takes.
        read: ``{"qpos": [..., nq], ...} -> [..., *shape]``, of any leading shape.
    """

    fields: tuple[str, ...]
    read: Callable[[Fields], Observation]


@dataclass(frozen=True)
class Feature:
    """Named numbers of any model that has what the name speaks of.

    Attributes:
        label: tells it apart from others, such as ``position of tip``.
        bind: finds it in a scene; raises UnknownNameError if that lacks it.
    """

    label: str
    bind: Callable[[Scene], Reading] = field(compare=False, repr=False)


class Layout:
    """An observation: qpos, qvel and act, then each further feature, in the order given.

    Attributes:
        scene: what it is observed of.
        fields: MjData fields that ``observe`` reads.
        slices: entries of the observation that hold a feature, by its label.
        model_inputs: entries that a learned model takes as input: qpos, qvel, act and the last
            ctrl. The other features follow from these, or are targets, which no motion depends on.
    """

    def __init__(self, scene: Scene, features: Iterable[Feature] = ()) -> None:
        """Find the features in the scene.

        Raises:
            UnknownNameError: naming what the model lacks, and what comes near.
        """
        self.scene = scene
        self._readings = {
            feature.label: feature.bind(scene) for feature in (QPOS, QVEL, ACT, *features)
        }
        readings = self._readings.values()
        self.fields = tuple(dict.fromkeys(name for each in readings for name in each.fields))
        data = mujoco.MjData(scene.model)
        mujoco.mj_forward(scene.model, data)
        values = self._read(read_fields(data, self.fields))
        self._shapes = {label: value.shape for label, value in values.items()}
        ends = np.cumsum([value.size for value in values.values()]).tolist()
        entries = map(slice, [0, *ends[:-1]], ends)
        self.slices = MappingProxyType(dict(zip(values, entries, strict=True)))
        inputs = [self.slices.get(each.label, slice(0)) for each in (QPOS, QVEL, ACT, CTRL)]
        self.model_inputs = tuple(i for each in inputs for i in range(each.start or 0, each.stop))

    def observe(self, fields: Fields) -> Observation:
        """The observation ``[..., D]`` of batched MjData fields."""
        values = self._read(fields)
        leading = fields[QPOS.label].shape[:-1]
        parts = [value.reshape(*leading, -1) for value in values.values() if value.size]
        return np.concatenate(parts, axis=-1, dtype=np.float64)

    def get(self, feature: Feature, observation: Array) -> Array:
        """The feature ``[..., *shape]`` in observations ``[..., D]``, numpy or torch.

        Raises:
            UnknownNameError: if it is not observed.
        """
        if feature.label not in self.slices:
            raise UnknownNameError("feature", feature.label, self.slices)
        entries = observation[..., self.slices[feature.label]]
        shape = self._shapes[feature.label]
        return entries if len(shape) == 1 else entries.reshape(entries.shape[:-1] + shape)

    def _read(self, fields: Fields) -> dict[str, Observation]:
        return {label: reading.read(fields) for label, reading in self._readings.items()}


def whole(name: str) -> Feature:
    """An MjData field as it is, of any shape, such as ``qfrc_actuator``."""

    def bind(scene: Scene) -> Reading:
        """Find it in the scene."""
        if name not in (known := set(_array_fields(scene.model))):
            raise UnknownNameError("MjData field", name, known)
        return Reading((name,), lambda fields: fields[name])

    return Feature(name, bind)


QPOS, QVEL, ACT, CTRL = (whole(name) for name in ("qpos", "qvel", "act", "ctrl"))


def position_of(name: str) -> Feature:
    """Where a site or, if there is none of that name, a body is: ``[..., 3]``, m.

    Of a body whose motion the scene knows, that motion at the time; else, of a mocap body, where
    it was put.
    """

    def bind(scene: Scene) -> Reading:
        """Find it in the scene."""
        if name in scene.motions:
            motion, clock = scene.motions[name], _clock(scene.model)
            return Reading(("sensordata",), lambda fields: motion(fields["sensordata"][..., clock]))
        kind, at = _site_or_body(scene.model, name)
        if kind == SITE:
            return _row("site_xpos", at)
        mocap = scene.model.body_mocapid[at]
        return _row("xpos", at) if mocap < 0 else _row("mocap_pos", mocap)

    return Feature(f"position of {name}", bind)


def velocity_of(name: str) -> Feature:
    """How fast a site or body moves in the world's axes: ``[..., 3]``, m/s."""

    def bind(scene: Scene) -> Reading:
        """Find it in the scene."""
        model = scene.model
        kind, at = _site_or_body(model, name)
        place = "site_xpos" if kind == SITE else "xpos"
        body = model.site_bodyid[at] if kind == SITE else at
        root = model.body_rootid[body]

        def read(fields: Fields) -> Observation:
            """Its velocity, m/s, in the world's axes."""
            twist = fields["cvel"][..., body, :]  # rotation and motion of the tree's mass centre
            arm = fields[place][..., at, :] - fields["subtree_com"][..., root, :]
            return np.asarray(twist[..., 3:] + np.cross(twist[..., :3], arm))

        return Reading(("cvel", "subtree_com", place), read)

    return Feature(f"velocity of {name}", bind)


def rotation_speed_of(body: str) -> Feature:
    """Angular velocity of a body in the world's axes: ``[..., 3]``, rad/s."""

    def bind(scene: Scene) -> Reading:
        """Find it in the scene."""
        at = find(scene.model, BODY, body)
        return Reading(("cvel",), lambda fields: fields["cvel"][..., at, :3])

    return Feature(f"angular velocity of {body}", bind)


def axis_of(body: str, axis: Axis) -> Feature:
    """A body's own axis as a unit vector in the world ``[..., 3]``."""

    def bind(scene: Scene) -> Reading:
        """Find it in the scene."""
        at, column = find(scene.model, BODY, body), "xyz".index(axis)
        return Reading(("xmat",), lambda fields: fields["xmat"][..., at, column::3])

    return Feature(f"{axis} axis of {body}", bind)


def orientation_of(body: str) -> Feature:
    """A body's orientation as a unit quaternion ``[..., 4]``, w first."""
    return Feature(
        f"orientation of {body}", lambda scene: _row("xquat", find(scene.model, BODY, body))
    )


def sensor_reading(name: str) -> Feature:
    """What a sensor of the model measures: ``[..., n]`` in its own unit."""

    def bind(scene: Scene) -> Reading:
        """Find it in the scene."""
        at = find(scene.model, SENSOR, name)
        start = scene.model.sensor_adr[at]
        entries = slice(start, start + scene.model.sensor_dim[at])
        return Reading(("sensordata",), lambda fields: fields["sensordata"][..., entries])

    return Feature(f"sensor {name}", bind)


def _bind_time(scene: Scene) -> Reading:
    clock = _clock(scene.model)
    return Reading(("sensordata",), lambda fields: fields["sensordata"][..., clock])


TIME = Feature("time", _bind_time)
"""Simulation time ``[...]``, s, of the model's clock sensor."""


def joint_addresses(
    model: mujoco.MjModel, names: tuple[str, ...], of: Literal["q", "v"]
) -> list[int]:
    """Where hinge and slide joints are in qpos or qvel; all of them where none is named.

    Raises:
        UnknownNameError: if there is no such joint.
        ValueError: if a named joint is free or a ball, which no single number describes.
    """
    scalar = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
    ids = [find(model, JOINT, name) for name in names]
    for name, at in zip(names, ids, strict=True):
        if model.jnt_type[at] not in scalar:
            raise ValueError(f"joint {name!r}: expected a hinge or slide, got a free or ball joint")
    ids = ids or [at for at in range(model.njnt) if model.jnt_type[at] in scalar]
    addresses = model.jnt_qposadr if of == "q" else model.jnt_dofadr
    return [int(addresses[at]) for at in ids]


def find(model: mujoco.MjModel, kind: mujoco.mjtObj, name: str) -> int:
    """The id of what is called so.

    Raises:
        UnknownNameError: if the model has none; it names those that come near.
    """
    at = int(mujoco.mj_name2id(model, kind, name))
    if at < 0:
        raise UnknownNameError(_word(kind), name, names_of(model, kind))
    return at


def names_of(model: mujoco.MjModel, kind: mujoco.mjtObj) -> list[str]:
    """The names of all bodies, sites … of a model, but for the unnamed."""
    counts = {SITE: model.nsite, BODY: model.nbody, JOINT: model.njnt, SENSOR: model.nsensor}
    counts |= {CAMERA: model.ncam, KEY: model.nkey}
    names = (mujoco.mj_id2name(model, kind, at) for at in range(counts[kind]))
    return [name for name in names if name]


def has_clock(spec: mujoco.MjSpec) -> bool:
    """Whether a specification has a sensor of time."""
    return any(sensor.type == CLOCK for sensor in spec.sensors)


def _site_or_body(model: mujoco.MjModel, name: str) -> tuple[mujoco.mjtObj, int]:
    """The kind and id of what is called so; raises UnknownNameError."""
    for kind in (SITE, BODY):
        if (at := int(mujoco.mj_name2id(model, kind, name))) >= 0:
            return kind, at
    raise UnknownNameError("site or body", name, names_of(model, SITE) + names_of(model, BODY))


def _clock(model: mujoco.MjModel) -> int:
    """Where the time is in ``sensordata``; raises ValueError if no sensor measures it."""
    clocks = np.flatnonzero(model.sensor_type == CLOCK)
    if len(clocks) == 0:
        raise ValueError("time: expected a sensor <clock/> in the model, got none")
    return int(model.sensor_adr[clocks[0]])


def _row(name: str, at: int) -> Reading:
    return Reading((name,), lambda fields: fields[name][..., at, :])


def _array_fields(model: mujoco.MjModel) -> Iterator[str]:
    data = mujoco.MjData(model)
    return (name for name in dir(data) if isinstance(getattr(data, name, None), np.ndarray))


def _word(kind: mujoco.mjtObj) -> str:
    return "keyframe" if kind == KEY else kind.name.removeprefix("mjOBJ_").lower()
