"""What a world model sees and must explain: frames, vectors, or both."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mpc_robot.errors import require
from mpc_robot.nn.images import FrameDecoder, FrameEncoder, centred
from mpc_robot.nn.layers import MLP, NormedSiLU
from mpc_robot.nn.symlog import symexp, symlog


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


class Encoder(nn.Module):
    """Frames ``[..., H, W, C]``, vectors ``[..., D]`` or both to features ``[..., E]``."""

    def __init__(
        self,
        frame_shape: tuple[int, int, int] | None,
        vector_dim: int | None,
        config: SensesConfig,
        rng: torch.Generator,
    ) -> None:
        """Networks for what there is; raises ValueError if there is neither."""
        super().__init__()
        seen = frame_shape is not None or vector_dim is not None
        require(seen, "frame_shape, vector_dim", "at least one of them", None)
        self.frame = self.vector = None
        self.dim = 0
        if frame_shape is not None:
            self.frame = FrameEncoder(frame_shape, config.channels, config.strides, rng)
            self.dim += self.frame.dim
        if vector_dim is not None:
            sizes = (vector_dim, *[config.units] * config.layers)
            self.vector = nn.Sequential(MLP(sizes, rng), NormedSiLU(config.units))
            self.dim += config.units

    def forward(self, frame: Tensor | None, vector: Tensor | None) -> Tensor:
        """The features of what is there; the size of vectors' entries is squashed by symlog."""
        parts: list[Tensor] = []
        if self.frame is not None and frame is not None:
            parts.append(self.frame(frame))
        if self.vector is not None and vector is not None:
            parts.append(self.vector(symlog(vector)))
        return torch.cat(parts, dim=-1)


class Decoder(nn.Module):
    """What features ``[..., F]`` say that was seen."""

    def __init__(
        self,
        features: int,
        frame_shape: tuple[int, int, int] | None,
        vector_dim: int | None,
        config: SensesConfig,
        rng: torch.Generator,
    ) -> None:
        """Networks for what there is."""
        super().__init__()
        self.frame = self.vector = None
        if frame_shape is not None:
            channels, strides = config.channels, config.strides
            self.frame = FrameDecoder(features, frame_shape, channels, strides, rng)
        if vector_dim is not None:
            self.vector = MLP((features, *[config.units] * config.layers, vector_dim), rng)

    def forward(self, features: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Frames ``[..., H, W, C]`` of shades from -0.5 to 0.5, and vectors ``[..., D]``."""
        frame = None if self.frame is None else self.frame(features)
        vector = None if self.vector is None else symexp(self.vector(features))
        return frame, vector

    def losses(
        self, features: Tensor, frame: Tensor | None, vector: Tensor | None
    ) -> dict[str, Tensor]:
        """Summed squared errors ``[...]`` of frames, and of vectors in symlog."""
        losses: dict[str, Tensor] = {}
        if self.frame is not None and frame is not None:
            error = functional.mse_loss(self.frame(features), centred(frame), reduction="none")
            losses["frame"] = error.flatten(-3).sum(dim=-1)
        if self.vector is not None and vector is not None:
            error = self.vector(features) - symlog(vector)
            losses["vector"] = (error**2).sum(dim=-1)
        return losses
