"""A second device for machines that have none: PyTorch calls it ``meta``, and here it computes.

What is there is kept on the CPU behind tensors that say that they are on ``meta``. As on a GPU, an
operation on tensors here and there is refused, unless it copies, indexes or one is a number, and so
is one there that draws from a generator here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import adam
from torch.utils._python_dispatch import TorchDispatchMode

THERE = torch.device("meta")
_COPIES, _INDEXES = {"aten::copy_", "aten::_to_copy"}, {"aten::index.Tensor"}
_JOINS = {"aten::cat", "aten::stack"}


class _There(Tensor):
    """A tensor of the second device, whose numbers are in ``here``."""

    here: Tensor

    @staticmethod
    def __new__(cls: type[_There], here: Tensor) -> _There:
        like: _There = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            here.size(),
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=THERE,
        )
        like.here = here
        return like

    @classmethod
    def __torch_dispatch__(
        cls, op: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(op, args, kwargs or {})


class _SecondDevice(TorchDispatchMode):
    """Makes tensors there where that is asked for."""

    def __torch_dispatch__(
        self, op: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(op, args, kwargs or {})


def _run(op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Do on the CPU what is to be done there."""
    here, known = list[Tensor](), dict[int, _There]()

    def fetched(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, _There):
            here.append(tensor)
            return tensor
        known[id(tensor.here)] = tensor
        return tensor.here

    indexed = op.name() in _INDEXES and isinstance(args[0], _There)
    args, kwargs = _mapped(fetched, args), _mapped(fetched, kwargs)
    there, wanted = bool(known), kwargs.get("device")
    if wanted is not None:
        there, kwargs = torch.device(wanted) == THERE, {**kwargs, "device": torch.device("cpu")}
    elif there and not indexed and op.name() not in _COPIES:
        mixed = any(each.dim() > 0 or op.name() in _JOINS for each in here)
        assert not mixed, f"{op.name()}: expected all tensors on one device"
    assert not there or kwargs.get("generator") is None, f"{op.name()}: a generator of the CPU"
    result = op(*args, **kwargs)
    if not there:
        return result
    return _mapped(lambda one: known[id(one)] if id(one) in known else _There(one), result)


def _mapped(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """The same with all tensors changed."""
    match value:
        case Tensor():
            return change(value)
        case list() | tuple():
            return type(value)([_mapped(change, each) for each in value])
        case dict():
            return {name: _mapped(change, each) for name, each in value.items()}
        case _:
            return value


@contextmanager
def second_device() -> Iterator[torch.device]:
    """The device, while it is there; what is made on ``meta`` by PyTorch itself is to be before."""
    swapped = torch.__future__.get_swap_module_params_on_conversion()
    with pytest.MonkeyPatch.context() as patch, _SecondDevice():
        # Adam has a kernel for all parameters on GPUs too, for which the CPU's stands in.
        patch.setattr(adam, "_device_dtype_check_for_fused", lambda *args, **kwargs: None)
        # Weights that are moved stay the same objects, as those that go to a GPU do.
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            yield THERE
        finally:
            torch.__future__.set_swap_module_params_on_conversion(swapped)
