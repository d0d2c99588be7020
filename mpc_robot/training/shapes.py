"""What a MuJoCo model looks like: its geoms and sites as triangles, fixed to its bodies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Geom = mujoco.mjtGeom

SIDES = 32
"""Corners of what is drawn for a circle."""
_QUARTER = np.linspace(0.0, np.pi / 2, SIDES // 4 + 1)
_UNIT_BOX = np.array(list(product((-1.0, 1.0), repeat=3)))
_BOX_SIDES = np.array(
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
)
_NO_COLOUR = (0.5, 0.5, 0.5, 1.0)
"""What MuJoCo takes for a colour that nobody chose."""


@dataclass(frozen=True)
class Mesh:
    """A surface of triangles.

    Attributes:
        vertices: ``[V, 3]``, m.
        faces: ``[F, 3]``, the vertices of each triangle, anticlockwise from outside.
        smooth: whether it is round where triangles meet.
    """

    vertices: Floats
    faces: Indices
    smooth: bool


@dataclass(frozen=True)
class Plane:
    """The rectangle of z = 0 about the origin.

    Attributes:
        width: along x, m; infinite if it does not end.
        height: along y, m; infinite if it does not end.
    """

    width: float
    height: float


@dataclass(frozen=True)
class Shape:
    """A geom or site.

    Attributes:
        name: what it is, its number and its name.
        body: number of the body that it is fixed to.
        position: in the frame of the body ``[3]``, m.
        wxyz: orientation in the frame of the body, a unit quaternion ``[4]``.
        form: its surface in its own frame.
        rgba: colour ``[4]``, in [0, 1].
        shown: whether MuJoCo draws it unless told otherwise.
    """

    name: str
    body: int
    position: Floats
    wxyz: Floats
    form: Mesh | Plane
    rgba: Floats
    shown: bool


def shapes(model: mujoco.MjModel) -> list[Shape]:
    """Every geom and site of a model."""
    drawn = mujoco.MjvOption()
    geoms = [_shape(model, "geom", model.geom(i), drawn.geomgroup) for i in range(model.ngeom)]
    sites = [_shape(model, "site", model.site(i), drawn.sitegroup) for i in range(model.nsite)]
    return geoms + sites


def _shape(model: mujoco.MjModel, kind: str, thing: Any, groups: npt.NDArray[np.uint8]) -> Shape:
    """A geom or site, where ``groups`` says which groups MuJoCo draws."""
    rgba = _rgba(model, thing)
    return Shape(
        name=f"{kind} {thing.id} {thing.name}".rstrip(),
        body=int(thing.bodyid[0]),
        position=np.array(thing.pos),
        wxyz=np.array(thing.quat),
        form=_form(model, thing),
        rgba=rgba,
        shown=bool(groups[thing.group[0]] and rgba[3] > 0),
    )


def _rgba(model: mujoco.MjModel, thing: Any) -> Floats:
    """Its own colour, or else its material's, as MuJoCo chooses; of a texture, its mean."""
    own, material = np.array(thing.rgba, dtype=np.float64), int(thing.matid[0])
    if material < 0:
        return own
    chosen = own if (own != _NO_COLOUR).any() else model.mat_rgba[material].astype(np.float64)
    texture = int(model.mat_texid[material, int(mujoco.mjtTextureRole.mjTEXROLE_RGB)])
    if texture < 0:
        return chosen
    start, channels = model.tex_adr[texture], model.tex_nchannel[texture]
    size = model.tex_height[texture] * model.tex_width[texture] * channels
    texels = model.tex_data[start : start + size].reshape(-1, channels)[:, :3]
    mean: Floats = np.append(np.broadcast_to(texels.mean(axis=0) / 255.0, 3), 1.0)
    return chosen * mean


def _form(model: mujoco.MjModel, thing: Any) -> Mesh | Plane:
    """The surface of a geom or site."""
    kind, size = Geom(int(thing.type[0])), np.array(thing.size)
    if kind == Geom.mjGEOM_PLANE:
        width, height = np.where(size[:2] > 0, 2.0 * size[:2], np.inf).tolist()
        return Plane(width, height)
    if kind == Geom.mjGEOM_HFIELD:
        return _landscape(model, int(thing.dataid[0]))
    return _SOLIDS[kind](size) if kind in _SOLIDS else _asset(model, int(thing.dataid[0]))


def _asset(model: mujoco.MjModel, mesh: int) -> Mesh:
    """A mesh of the model, as it was compiled."""
    vertex, face = model.mesh_vertadr[mesh], model.mesh_faceadr[mesh]
    vertices = model.mesh_vert[vertex : vertex + model.mesh_vertnum[mesh]]
    faces = model.mesh_face[face : face + model.mesh_facenum[mesh]]
    return Mesh(vertices.astype(np.float64), faces.astype(np.int64), smooth=False)


def _landscape(model: mujoco.MjModel, field: int) -> Mesh:
    """The upper side of a height field."""
    rows, columns = int(model.hfield_nrow[field]), int(model.hfield_ncol[field])
    start, (x, y, z, _) = model.hfield_adr[field], model.hfield_size[field]
    heights = z * model.hfield_data[start : start + rows * columns]
    across = np.meshgrid(np.linspace(-x, x, columns), np.linspace(-y, y, rows))
    vertices = np.stack([*(axis.ravel() for axis in across), heights], axis=1)
    return Mesh(vertices, _triangles(np.arange(rows * columns).reshape(rows, columns)), smooth=True)


def _sphere(size: Floats) -> Mesh:
    """A sphere, of ``size`` (radius, ...)."""
    return _ellipsoid(size[:1].repeat(3))


def _ellipsoid(size: Floats) -> Mesh:
    """An ellipsoid about its half axes ``size``."""
    latitude = np.append(-_QUARTER[:0:-1], _QUARTER)
    unit = _turned(np.stack([np.cos(latitude), np.sin(latitude)], axis=1), smooth=True)
    return Mesh(unit.vertices * size, unit.faces, smooth=True)


def _capsule(size: Floats) -> Mesh:
    """A capsule along z, of ``size`` (radius, half length without its caps, ...)."""
    radius, half = size[:2]
    cap = radius * np.stack([np.cos(_QUARTER), np.sin(_QUARTER)], axis=1) + (0.0, half)
    return _turned(np.concatenate([cap[::-1] * (1.0, -1.0), cap]), smooth=True)


def _cylinder(size: Floats) -> Mesh:
    """A cylinder along z, of ``size`` (radius, half length, ...)."""
    radius, half = size[:2]
    outline = np.array([[0.0, -half], [radius, -half], [radius, half], [0.0, half]])
    return _turned(outline, smooth=False)


def _box(size: Floats) -> Mesh:
    """A box of half edges ``size``."""
    halves = np.concatenate([_BOX_SIDES[:, [0, 1, 2]], _BOX_SIDES[:, [0, 2, 3]]])
    return Mesh(_UNIT_BOX * size, halves, smooth=False)


def _turned(outline: Floats, smooth: bool) -> Mesh:
    """What ``outline[P, 2]``, radii and heights from bottom to top, sweeps around the z axis."""
    angle = np.arange(SIDES) * (2 * np.pi / SIDES)
    radius, height = outline.T[..., None]
    rings = np.broadcast_arrays(radius * np.cos(angle), radius * np.sin(angle), height)
    corners = np.arange(len(outline) * SIDES).reshape(-1, SIDES)
    around = np.append(corners, corners[:, :1], axis=1)
    return Mesh(np.stack(rings, axis=-1).reshape(-1, 3), _triangles(around), smooth)


def _triangles(corners: Indices) -> Indices:
    """Two triangles ``[F, 3]`` in each field of a grid of vertices ``[R, C]``."""
    here, right = corners[:-1, :-1], corners[:-1, 1:]
    above, across = corners[1:, :-1], corners[1:, 1:]
    lower, upper = np.stack([here, right, across], -1), np.stack([here, across, above], -1)
    return np.concatenate([lower.reshape(-1, 3), upper.reshape(-1, 3)])


_SOLIDS: dict[mujoco.mjtGeom, Callable[[Floats], Mesh]] = {
    Geom.mjGEOM_SPHERE: _sphere,
    Geom.mjGEOM_CAPSULE: _capsule,
    Geom.mjGEOM_ELLIPSOID: _ellipsoid,
    Geom.mjGEOM_CYLINDER: _cylinder,
    Geom.mjGEOM_BOX: _box,
}


def overview(model: mujoco.MjModel, data: mujoco.MjData) -> tuple[Floats, float]:
    """Centre ``[3]`` and radius, m, of a ball around all that can move, where it is in ``data``."""
    moves = model.body_weldid[model.geom_bodyid] > 0
    seen = moves if moves.any() else np.ones(model.ngeom, dtype=bool)
    centres, radii = data.geom_xpos[seen], model.geom_rbound[seen, None]
    centre = ((centres - radii).min(axis=0) + (centres + radii).max(axis=0)) / 2
    distances = np.linalg.norm(centres - centre, axis=1, keepdims=True)
    return centre, float((distances + radii).max())


def rover(model: mujoco.MjModel) -> int | None:
    """The first body that no joint keeps from going far away; None if there is none."""
    slides = model.jnt_type == mujoco.mjtJoint.mjJNT_SLIDE
    far = (slides & (model.jnt_limited == 0)) | (model.jnt_type == mujoco.mjtJoint.mjJNT_FREE)
    bodies = model.jnt_bodyid[far]
    return int(bodies[0]) if len(bodies) else None
