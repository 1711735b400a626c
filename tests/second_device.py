"""A second device without hardware: tensors on "fake" hold CPU data and do not mix with the CPU's.

    with SecondDevice() as device:
        model.to("fake")(images.to("fake"))
        print(device.waits)  # Counter({"nonzero": 5, "item": 2})

PyTorch's Python back end for PrivateUse1 makes the device, as long as the process lives. What fails
on CUDA fails there: an operation on tensors of both devices (tensors without dimensions and indices
may lie on the CPU), and `numpy()`. `waits` counts what makes the host wait for a GPU: numbers and
lists that Python reads, results whose size depends on values (nonzero and boolean indices, nms,
unique), and copies between the devices. Random draws are the CPU's, so that both devices can give
the same numbers.
"""

from collections import Counter

import pytest
import torch
import torchvision  # noqa: F401  (for its operators)
from torch.utils._python_dispatch import TorchDispatchMode

try:
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
except ImportError:
    pytest.skip("this PyTorch has no back ends in Python", allow_module_level=True)


class _Backend:
    """What PyTorch asks of the module of a device, torch.fake."""

    def is_initialized(self):
        return True

    is_available = is_initialized

    def current_device(self):
        return 0

    def device_count(self):
        return 1

    def manual_seed_all(self, seed):
        pass

    def _is_in_bad_fork(self):
        return False

    def get_amp_supported_dtype(self):
        return [torch.float16, torch.bfloat16]


_setup_privateuseone_for_python_backend("fake", backend_module=_Backend())
torch.fake.get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]
_DEVICE = torch.device("fake:0")
_CPU = torch.device("cpu")
_aten = torch.ops.aten
_COPIES = {_aten.copy_.default, _aten._to_copy.default}
_GETS = {_aten.index.Tensor, _aten._unsafe_index.Tensor}
_PUTS = {_aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default}
_WAITS = {
    _aten._local_scalar_dense: "item",
    _aten.equal: "item",
    _aten.nonzero: "nonzero",
    _aten.masked_select: "nonzero",
    _aten._unique2: "unique",
    _aten.unique_dim: "unique",
    _aten.unique_consecutive: "unique",
    _aten.bincount: "bincount",
    torch.ops.torchvision.nms: "nms",
}
_waits: Counter[str] = Counter()


class FakeTensor(torch.Tensor):
    """A tensor whose device is "fake" and whose values lie in `data_on_cpu`."""

    data_on_cpu: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, data: torch.Tensor) -> "FakeTensor":
        made = torch.Tensor._make_wrapper_subclass(
            *(cls, data.size(), data.stride(), data.storage_offset()),
            dtype=data.dtype,
            device=_DEVICE,
        )
        made.data_on_cpu = data
        return made

    def __init__(self, data: torch.Tensor) -> None:
        pass

    def __repr__(self):
        return f"FakeTensor({self.data_on_cpu!r})"

    def tolist(self):
        _waits["tolist"] += 1
        return self.data_on_cpu.tolist()

    def numpy(self, *args, **kwargs):
        raise TypeError("can't convert a tensor of the second device to numpy")

    __array__ = numpy

    def __reduce_ex__(self, protocol):
        # saved as a tensor of the CPU, which is what our checkpoints are loaded as
        return self.cpu().__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class SecondDevice(TorchDispatchMode):
    """Within it "fake" is a device, and `waits` counts what makes the host wait for it."""

    def __enter__(self):
        _waits.clear()
        self.waits = _waits
        return super().__enter__()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _run(func, args, kwargs):
    """Run an operation on the CPU data of its arguments; wrap its results for their device."""
    given: list[torch.Tensor] = []

    def unwrap(tensor):
        given.append(tensor)
        return _data(tensor)

    cpu_args = _map(unwrap, args)
    cpu_kwargs = {name: _map(unwrap, value) for name, value in kwargs.items()}
    if any(isinstance(tensor, FakeTensor) for tensor in given):
        _check_devices(func, args, given)
        _count_waits(func, args, kwargs)
    elif func is _aten._to_copy.default and _is_fake(kwargs.get("device")):
        _waits["copy"] += not kwargs.get("non_blocking", False)
    if cpu_kwargs.get("device") is not None:
        cpu_kwargs["device"] = _CPU
    on_fake = _is_result_fake(args, kwargs, given)

    def wrap(made):
        for tensor in given:  # an operation in place returns its argument
            if _data(tensor) is made:
                return tensor
        return FakeTensor(made) if on_fake else made

    return _map(wrap, func(*cpu_args, **cpu_kwargs))


def _map(change, value):
    """Return arguments or results with `change` made to every tensor."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_map(change, part) for part in value)
    return value


def _data(value):
    return value.data_on_cpu if isinstance(value, FakeTensor) else value


def _is_fake(device):
    return device is not None and torch.device(device).type == "fake"


def _is_result_fake(args, kwargs, given):
    if kwargs.get("device") is not None:
        return _is_fake(kwargs["device"])
    if args and isinstance(args[0], torch.Tensor):
        return isinstance(args[0], FakeTensor)
    return any(isinstance(tensor, FakeTensor) for tensor in given)


def _check_devices(func, args, given):
    """Raise where CUDA would: of the CPU's tensors it takes indices and those of one number."""
    foreign = [t for t in given if not isinstance(t, FakeTensor) and t.dim() > 0]
    if func in _GETS | _PUTS and isinstance(args[0], FakeTensor):
        indices = [index for index in args[1] if index is not None]
        foreign = [t for t in foreign if not any(t is index for index in indices)]
    if foreign and func not in _COPIES:
        raise RuntimeError(f"expected all tensors on one device, got two in {func}")


def _count_waits(func, args, kwargs):
    """Count what makes the host wait in an operation that has an argument on the device."""
    packet = func.overloadpacket
    if packet in _WAITS:
        _waits[_WAITS[packet]] += 1
    elif packet is _aten.repeat_interleave:
        _waits["repeat_interleave"] += kwargs.get("output_size") is None
    elif func is _aten._to_copy.default:
        target = kwargs.get("device")
        _waits["copy"] += target is not None and not _is_fake(target)
    elif func is _aten.copy_.default:
        target, source = args[:2]
        into_device = isinstance(target, FakeTensor)
        non_blocking = into_device and len(args) > 2 and args[2]
        _waits["copy"] += into_device != isinstance(source, FakeTensor) and not non_blocking
    elif func in _GETS | _PUTS:
        indices = [index for index in args[1] if index is not None]
        _waits["copy"] += sum(not isinstance(index, FakeTensor) for index in indices)
        if func in _GETS or args[2].numel() != 1:  # a single number is filled in by the mask
            _waits["nonzero"] += sum(i.dtype in (torch.bool, torch.uint8) for i in indices)


def _empty_strided(size, stride, dtype=None, layout=None, device=None, pin_memory=None):
    return FakeTensor(torch.empty_strided(size, stride, dtype=dtype))


def _empty(size, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None):
    return FakeTensor(torch.empty(size, dtype=dtype))


def _copy_from(source, target, non_blocking=False):
    _waits["copy"] += not (non_blocking and isinstance(target, FakeTensor))
    _data(target).copy_(_data(source))
    return target


# what PyTorch calls where no Python code sees it, torch.tensor(…, device="fake") for one
_library = torch.library.Library("aten", "IMPL", "PrivateUse1")
_library.impl("empty_strided", _empty_strided)
_library.impl("empty.memory_format", _empty)
_library.impl("_copy_from", _copy_from)
