"""Mixed precision as `cfg.DTYPE` names it."""

import torch

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def autocast(dtype_name: str, device: torch.device) -> torch.autocast:
    """Makes the context in which a forward pass runs in the named precision.

    Args:
        dtype_name: "float32" (no autocast), "float16" or "bfloat16".
        device: where the model lies.

    Raises:
        ValueError: another name.
    """
    if dtype_name not in DTYPES:
        raise ValueError(f"DTYPE must be one of {', '.join(DTYPES)}, got {dtype_name!r}")
    mixed = dtype_name != "float32"
    # PyTorch looks at dtype even where enabled is False, so a legal one is given
    dtype = DTYPES[dtype_name] if mixed else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=mixed)
