"""Quadratic models of rewards along a trajectory, and minima of quadratics within limits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg.lapack import dposv
from torch import Tensor

from mpc_robot.dynamics.linearization import Linearization, ObservationExpansion

Floats = npt.NDArray[np.float64]


def derivatives(function: Callable[[Tensor], Tensor], at: Floats) -> tuple[Floats, Floats]:
    """Gradient ``[T, Z]`` and Hessian ``[T, Z, Z]`` of ``function([..., Z]) -> [...]`` at T points.

    Each point is there once per row of its Hessian, so that two passes of autograd over one batch
    do for all. Derivatives that do not exist count as 0.
    """
    rows = at.shape[1]
    with torch.enable_grad():
        copies = torch.from_numpy(at).repeat(rows, 1, 1).requires_grad_()
        total = function(copies).sum() + 0.0 * copies.sum()  # it need not depend on its inputs
        (slopes,) = torch.autograd.grad(total, copies, create_graph=True)
        entries = slopes.diagonal(dim1=0, dim2=2).sum() + 0.0 * copies.sum()
        (curvature,) = torch.autograd.grad(entries, copies)
    slope = slopes[0].detach().nan_to_num(0.0, 0.0, 0.0).numpy()
    return slope, curvature.transpose(0, 1).nan_to_num(0.0, 0.0, 0.0).numpy()


def chain_rule(
    slope: Floats, curvature: Floats, steps: Linearization, seen: ObservationExpansion
) -> tuple[Floats, Floats]:
    """From derivatives by ``[obs, action, next obs]`` to those by state and action ``[n + A]``."""
    (horizon, dim, n), actions = steps.h_x.shape, steps.f_u.shape[2]
    inner = np.zeros((horizon, 2 * dim + actions, n + actions))
    inner[:, :dim, :n] = seen.slope[:-1]
    inner[:, dim:-dim, n:] = np.eye(actions)
    inner[:, -dim:] = np.concatenate([steps.h_x, steps.h_u], axis=2)
    step = np.concatenate([steps.f_x, steps.f_u], axis=2)
    bend = np.einsum("td,tdn->tn", slope[:, :dim], seen.curvature[:-1])
    next_bend = np.einsum("td,tdn->tn", slope[:, -dim:], seen.curvature[1:])
    total = _t(inner) @ curvature @ inner + _t(step) @ (next_bend[..., None] * step)
    total[:, np.arange(n), np.arange(n)] += bend
    return (slope[:, None] @ inner)[:, 0], total


def convex(curvature: Floats) -> Floats:
    """The nearest positive semidefinite matrices ``[..., m, m]``: negative eigenvalues dropped."""
    values, vectors = np.linalg.eigh((curvature + _t(curvature)) / 2)
    positive: Floats = (vectors * np.maximum(values, 0.0)[..., None, :]) @ _t(vectors)
    return positive


def box_qp(
    hessian: Floats, slope: Floats, low: Floats, high: Floats
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The x within bounds of least ``x' hessian x / 2 + slope' x``, and where it is not held there.

    Projected Newton (2014, sec. III-B), from the minimum without bounds; ``hessian[m, m]`` must be
    positive definite.

    Raises:
        np.linalg.LinAlgError: if it is not.
    """
    unbounded = -solve_definite(hessian, slope)
    x = np.minimum(np.maximum(unbounded, low), high)
    free = x == unbounded
    if free.all():
        return x, free
    for _ in range(100):
        gradient = hessian @ x + slope
        free = ~(((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0)))
        if np.abs(gradient[free]).max(initial=0.0) <= 1e-9 * np.abs(slope).max():
            break
        newton = np.zeros_like(x)
        newton[free] = -solve_definite(hessian[free][:, free], gradient[free])
        length, moved = 1.0, np.zeros_like(x)
        while length > 1e-12:
            moved = np.minimum(np.maximum(x + length * newton, low), high) - x
            if moved @ (gradient + hessian @ moved / 2) <= 0.1 * gradient @ moved:
                break
            length *= 0.6
        x = x + moved
    return x, free


def solve_definite(matrix: Floats, right: Floats) -> Floats:
    """Solve ``matrix x = right`` for a positive definite ``matrix[m, m]``, by Cholesky.

    Raises:
        np.linalg.LinAlgError: if it is not positive definite.
    """
    if len(matrix) == 0:
        return right
    x: Floats
    _, x, failed = dposv(matrix, right)
    if failed or not np.isfinite(x).all():
        raise np.linalg.LinAlgError(f"expected a positive definite matrix, got {matrix}")
    return x


def _t(matrices: Floats) -> Floats:
    """Transposes of ``[..., m, n]``."""
    return matrices.swapaxes(-1, -2)
