"""A CUDA GPU that is none, so that lines which only a GPU reaches are run without one.

Inside `faked_gpu`, torch says that it has CUDA. A tensor that is asked for on ``cuda``, or computed from one that is there, says that it
lies on ``cuda:0``; where a GPU would refuse (a tensor of the GPU with one of the CPU in one operation, ``numpy()`` of a tensor of the GPU)
the same error is raised. The arithmetic is the CPU's, and what a kernel of a GPU computes is not shown.

Where a tensor lies is an attribute of its Python object. Tensors that C++ makes by itself, in a backward pass, have none: they mix with
both and say that they lie on the GPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
_MIXING = {Tensor.to, Tensor.copy_, Tensor.cpu, Tensor.cuda, Tensor.set_, torch._has_compatible_shallow_copy_type}
_WITH_INDEX = {Tensor.__getitem__, Tensor.__setitem__, Tensor.index_put_, Tensor.index_put}  # the index may lie on the CPU


class _Elsewhere(TorchFunctionMode):
    """Makes on the CPU what is asked for on ``cuda``, and remembers where each tensor would lie."""

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if function in (torch.device, torch._C._nn._parse_to):
            return function(*args, **kwargs)
        if function == Tensor.device.__get__:
            return _place(args[0]) or GPU
        if function in (Tensor.is_cuda.__get__, Tensor.is_cpu.__get__):
            return ((_place(args[0]) or GPU) == GPU) == (function == Tensor.is_cuda.__get__)
        if function in (Tensor.numpy, Tensor.__array__) and _place(args[0]) == GPU:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first.")
        if function == Tensor.data.__set__:
            args[0]._lies_on = _place(args[1])
            return function(*args)
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        _refuse_a_mixture(function, args, given)
        asked = [device for device in map(_device, (*args, *kwargs.values())) if device is not None]
        if function is Tensor.to and not asked and len(given) > 1:
            asked = [_place(given[1])]
        if function in (Tensor.cpu, Tensor.cuda):
            asked = [CPU if function is Tensor.cpu else GPU]
        if function in (Tensor.cuda, Tensor.pin_memory):
            out = args[0]
        else:
            out = function(*map(_here, args), **{name: _here(value) for name, value in kwargs.items()})
        known = {_place(x) for x in given} - {None}
        place = asked[-1] if asked else CPU if not given else GPU if GPU in known else CPU if known else None
        if isinstance(out, Tensor) and asked and _place(out) not in (None, place):
            out = out.clone()  # moved, so it is another tensor
        for x in tree_leaves(out):
            if isinstance(x, Tensor) and _place(x) is None:
                x._lies_on = place
        return out


def _place(tensor: Tensor) -> torch.device | None:
    """Where a tensor would lie; None where nothing is known."""
    return getattr(tensor, "_lies_on", CPU if isinstance(tensor, torch.nn.Parameter) else None)


def _parameter(cls: type, data: Tensor | None = None, requires_grad: bool = True, _lies_on: Any = None) -> torch.nn.Parameter:
    """A parameter lies where its data lie, whatever attributes of another one accelerate hands on; torch asks no mode about making one."""
    made = _new_parameter(cls, data, requires_grad)
    if data is not None and _place(data) is not None:
        made._lies_on = _place(data)
    return made


_new_parameter = torch.nn.Parameter.__new__


def _refuse_a_mixture(function: Any, args: tuple, given: list[Tensor]) -> None:
    if function in _MIXING or len(given) < 2:
        return
    if function in _WITH_INDEX and _place(given[0]) == GPU:
        given = [args[0], *(x for x in args[2:] if isinstance(x, Tensor))]
    if {_place(x) for x in given if x.dim()} >= {CPU, GPU}:
        name = getattr(function, "__name__", function)
        raise RuntimeError(f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! ({name})")


def _device(value: Any) -> torch.device | None:
    """The device that an argument names, if it names one."""
    if isinstance(value, torch.device):
        return GPU if value.type == "cuda" else value
    if isinstance(value, str) and value.partition(":")[0] in ("cuda", "cpu"):
        return GPU if value.startswith("cuda") else CPU
    return None


def _here(value: Any) -> Any:
    """The CPU for a GPU, anything else as it is."""
    return CPU if _device(value) == GPU else value


@contextmanager
def faked_gpu(name: str = "NVIDIA H200", *, memory: int = 5 * 2**20, bf16: bool = True, count: int = 1) -> Iterator[None]:
    """`count` GPUs of this name, whose tensors took `memory` bytes at most; `bf16`: they multiply bfloat16 natively."""
    says = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: count,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "get_device_name": lambda device=None: name,
        "get_device_capability": lambda device=None: (9, 0) if bf16 else (7, 5),
        "is_bf16_supported": lambda including_emulation=True: bf16 or including_emulation,
        "max_memory_allocated": lambda device=None: memory,
        "reset_peak_memory_stats": lambda device=None: None,
        "synchronize": lambda device=None: None,
        "empty_cache": lambda: None,
        "get_rng_state": lambda device=None: torch.empty(0),
        "set_rng_state": lambda state, device=None: None,
    }
    with pytest.MonkeyPatch.context() as patch:
        for function, answer in says.items():
            patch.setattr(torch.cuda, function, answer)
        patch.setattr(torch.nn.Parameter, "__new__", _parameter)
        patch.setattr(torch.cuda.random, "get_rng_state_all", lambda: [])
        _forget()
        try:
            with _Elsewhere():
                yield
        finally:
            _forget()


def _forget() -> None:
    """What transformers remembers of the hardware."""
    from transformers.utils import import_utils

    for question in ("is_torch_cuda_available", "is_torch_bf16_gpu_available", "is_torch_tf32_available"):
        getattr(import_utils, question).cache_clear()
