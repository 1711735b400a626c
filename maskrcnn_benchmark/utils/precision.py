"""The precision of a run, as `cfg.DTYPE` names it."""

import torch

DTYPES = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def check_dtype(dtype_name: str) -> None:
    """Raise ValueError for a precision that is not known."""
    if dtype_name not in DTYPES:
        raise ValueError(f"DTYPE must be one of {', '.join(DTYPES)}, got {dtype_name!r}")


def set_float32_precision(dtype_name: str) -> None:
    """Say for the whole process what GPUs may make of float32.

    PyTorch lets convolutions round their factors to TF32's 10 bits of mantissa. "float32" means
    float32 here, as on the original's GPUs; "tf32" allows the rounding in convolutions and matrix
    products alike.

    Args:
        dtype_name: as cfg.DTYPE; all but "tf32" forbid it.
    """
    allowed = dtype_name == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def autocast(dtype_name: str, device: torch.device) -> torch.autocast:
    """Make the context in which a forward pass runs in the named precision.

    Args:
        dtype_name: "float32" and "tf32" (no autocast), "float16" or "bfloat16".
        device: where the model lies.

    Raises:
        ValueError: another name.
    """
    check_dtype(dtype_name)
    mixed = DTYPES[dtype_name] is not torch.float32
    # PyTorch looks at dtype even where enabled is False, so a legal one is given
    dtype = DTYPES[dtype_name] if mixed else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=mixed)
