"""What a world model sees and must explain: frames, vectors, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from mpc_robot.errors import require, require_numbers
from mpc_robot.nn.images import FrameDecoder, FrameEncoder, FrameNormalizer
from mpc_robot.nn.layers import MLP, NormedSiLU
from mpc_robot.nn.normalizer import Normalizer
from mpc_robot.nn.symlog import symexp, symlog

LEAST_SIZE = 1e-6
"""Root mean square of an entry below which it is nothing but rounding."""


@dataclass(frozen=True)
class SensesConfig:
    """Networks between observations and features.

    Attributes:
        channels: of each convolution on frames [v3: 4 of them].
        strides: of each convolution, 2 or 4 [2]: a first stride of 4 costs a CPU half as much.
        units: width of hidden layers on vectors.
        layers: hidden layers on vectors [3].
    """

    channels: tuple[int, ...] = (16, 32, 64)
    strides: tuple[int, ...] = (4, 2, 2)
    units: int = 128
    layers: int = 2

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        pairs = len(self.channels) == len(self.strides)
        require(pairs, "strides", f"one per entry of channels {self.channels}", self.strides)
        for name in ("units", "layers"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))


class FrameSense(nn.Module):
    """uint8 frames ``[..., H, W, C]`` to features ``[..., E]``, and back from others ``[..., F]``.

    Attributes:
        shape: H, W, C.
        dim: E.
    """

    def __init__(
        self,
        features: int,
        frame_shape: tuple[int, int, int],
        config: SensesConfig,
        rng: torch.Generator,
    ) -> None:
        """``features``: F."""
        super().__init__()
        layers, self.shape = (config.channels, config.strides), frame_shape
        self.scale = FrameNormalizer(frame_shape)
        self.encoder = FrameEncoder(frame_shape, *layers, rng)
        self.decoder = FrameDecoder(features, frame_shape, *layers, rng)
        self.dim = self.encoder.dim

    def encode(self, frame: Tensor) -> Tensor:
        """The features of each frame."""
        encoded: Tensor = self.encoder(self.scale(frame))
        return encoded

    def decode(self, features: Tensor) -> Tensor:
        """Frames ``[..., H, W, C]`` of shades from 0 to 1."""
        return self.scale.shades(self.decoder(features))

    def loss(self, features: Tensor, frame: Tensor) -> Tensor:
        """Squared errors ``[...]`` of scaled frames, summed over pixels."""
        error: Tensor = self.decoder(features) - self.scale(frame)
        return (error**2).flatten(-3).sum(dim=-1)


class VectorSense(nn.Module):
    """Chosen entries of vectors to features ``[..., E]``, and back from others ``[..., F]``.

    The size of entries is squashed by symlog (arXiv:2301.04104v2, eq. 9). Then each is centred, and
    its unit is its root mean square: what has hardly varied yet may well do so later, such as the
    cosine of a pole's angle once it swings up. An entry of no size keeps its own unit, and one that
    was not finite its own centre as well.

    Attributes:
        shape: D, of whole vectors.
        entries: those that are seen and explained ``[C]``.
        dim: E.
    """

    entries: Tensor

    def __init__(
        self,
        features: int,
        vector_dim: int,
        entries: Sequence[int],
        config: SensesConfig,
        rng: torch.Generator,
    ) -> None:
        """``features``: F; ``vector_dim``: D; ``entries``: C of them."""
        super().__init__()
        hidden, dim = (config.units,) * config.layers, len(entries)
        self.shape = (vector_dim,)
        self.register_buffer("entries", torch.tensor(entries), persistent=False)
        self.normalizer = Normalizer(dim)
        self.encoder = nn.Sequential(MLP((dim, *hidden), rng), NormedSiLU(config.units))
        self.decoder = MLP((features, *hidden, dim), rng, zero=True)
        self.dim = config.units

    def fit(self, vector: Tensor) -> None:
        """Take the scale of vectors ``[..., D]``."""
        seen = symlog(self.chosen(vector)).flatten(0, -2)
        size, mean = seen.square().mean(dim=0).sqrt(), seen.mean(dim=0)
        sound = size.isfinite()
        self.normalizer.mean.copy_(torch.where(sound, mean, 0.0))
        self.normalizer.std.copy_(torch.where(sound & (size > LEAST_SIZE), size, 1.0))

    def encode(self, vector: Tensor) -> Tensor:
        """The features of each vector."""
        encoded: Tensor = self.encoder(self.scaled(vector))
        return encoded

    def decode(self, features: Tensor) -> Tensor:
        """The entries ``[..., C]``."""
        return symexp(self.normalizer.inverse(self.decoder(features)))

    def loss(self, features: Tensor, vector: Tensor) -> Tensor:
        """Squared errors ``[...]`` of scaled entries, summed."""
        error: Tensor = self.decoder(features) - self.scaled(vector)
        return (error**2).sum(dim=-1)

    def scaled(self, vector: Tensor) -> Tensor:
        """What the networks see of vectors ``[..., D]``: the entries ``[..., C]``, scaled."""
        seen: Tensor = self.normalizer(symlog(self.chosen(vector)))
        return seen

    def chosen(self, vector: Tensor) -> Tensor:
        """The entries ``[..., C]`` of vectors ``[..., D]``."""
        return vector.index_select(-1, self.entries)


class Senses(nn.Module):
    """Observations to features ``[..., E]``, and back from others ``[..., F]``.

    Attributes:
        frame: how frames ``[..., H, W, C]`` are seen, None if there are none.
        vector: how vectors ``[..., D]`` are seen, None if there are none.
        dim: E.
    """

    def __init__(
        self,
        features: int,
        config: SensesConfig,
        rng: torch.Generator,
        *,
        frame_shape: tuple[int, int, int] | None = None,
        vector_dim: int | None = None,
        entries: Sequence[int] | None = None,
    ) -> None:
        """Networks for what there is.

        Args:
            features: F.
            config: their shape.
            rng: draws the initial weights.
            frame_shape: H, W, C, None if there are no frames.
            vector_dim: D, None if there are no vectors.
            entries: C of vectors that are seen and explained, None for all.

        Raises:
            ValueError: if there is nothing to see.
        """
        super().__init__()
        seen = frame_shape is not None or vector_dim is not None
        require(seen, "frame_shape, vector_dim", "at least one of them", None)
        self.frame = self.vector = None
        if frame_shape is not None:
            self.frame = FrameSense(features, frame_shape, config, rng)
        if vector_dim is not None:
            chosen = range(vector_dim) if entries is None else entries
            self.vector = VectorSense(features, vector_dim, chosen, config, rng)
        self.dim = sum(sense.dim for sense in (self.frame, self.vector) if sense is not None)

    def check(self, parts: Mapping[str, npt.NDArray[Any]]) -> None:
        """Refuse an observation that is not made of these parts, or not of numbers.

        Raises:
            ValueError: naming the part, what was expected and what came.
        """
        senses = {"frame": self.frame, "vector": self.vector}
        known = {name: sense.shape for name, sense in senses.items() if sense is not None}
        meant = " and ".join(known)
        require(parts.keys() == known.keys(), "observation", meant, " and ".join(parts))
        for name, part in parts.items():
            require_numbers(name, part, known[name])

    def fit(self, frame: Tensor | None, vector: Tensor | None) -> None:
        """Take the scale of what was seen."""
        if self.frame is not None and frame is not None:
            self.frame.scale.fit(frame)
        if self.vector is not None and vector is not None:
            self.vector.fit(vector)

    def encode(self, frame: Tensor | None, vector: Tensor | None) -> Tensor:
        """The features of what is there."""
        parts: list[Tensor] = []
        if self.frame is not None and frame is not None:
            parts.append(self.frame.encode(frame))
        if self.vector is not None and vector is not None:
            parts.append(self.vector.encode(vector))
        return torch.cat(parts, dim=-1)

    def decode(self, features: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Frames ``[..., H, W, C]`` of shades from 0 to 1, and the chosen entries of vectors."""
        frame = None if self.frame is None else self.frame.decode(features)
        vector = None if self.vector is None else self.vector.decode(features)
        return frame, vector

    def chosen(self, vector: Tensor) -> Tensor:
        """What is explained of vectors ``[..., D]``."""
        return vector if self.vector is None else self.vector.chosen(vector)

    def losses(
        self, features: Tensor, frame: Tensor | None, vector: Tensor | None
    ) -> dict[str, Tensor]:
        """Squared errors ``[...]`` of what is there, each summed."""
        losses: dict[str, Tensor] = {}
        if self.frame is not None and frame is not None:
            losses["frame"] = self.frame.loss(features, frame)
        if self.vector is not None and vector is not None:
            losses["vector"] = self.vector.loss(features, vector)
        return losses
