"""FBNet's and ChamNet's architectures as tables (arXiv 1812.03443, 1812.08934).

A stage is a list of rows (op, expansion, channels, count, stride): `count` blocks one after the
other, of which only the first has the stride; a negative stride enlarges the map. The entries
"backbone", "rpn", "bbox", "mask" and "kpts" list the indices of the stages of each part.
"""

from typing import Any

MODEL_ARCH: dict[str, dict[str, Any]] = {}


def add_archs(archs: dict[str, dict[str, Any]]) -> None:
    """Add architectures to MODEL_ARCH.

    Args:
        archs: name -> {"block_op_type": the op of every block, one list per stage; "block_cfg":
            {"first": [channels, stride], "stages": [[[expansion, channels, count, stride], …], …],
            "last": [channels, channel scale], "backbone": [stage, …], …}}.

    Raises:
        ValueError: an architecture of that name exists.
    """
    taken = sorted(set(archs) & set(MODEL_ARCH))
    if taken:
        raise ValueError(f"FBNet architectures {taken} exist already; choose other names")
    MODEL_ARCH.update(archs)


def _arch(first_channels: int, stages: list[list[tuple]], **parts: list[int]) -> dict[str, Any]:
    """Convert a table of stages to the form that add_archs and MODEL.FBNET.ARCH_DEF take."""
    return {
        "block_op_type": [
            [op for op, _, _, count, _ in stage for _ in range(count)] for stage in stages
        ],
        "block_cfg": {
            "first": [first_channels, 2],
            "stages": [[list(numbers) for _, *numbers in stage] for stage in stages],
            "last": [0, 0.0],
            **parts,
        },
    }


MODEL_ARCH_CHAM = {
    "cham_v1a": _arch(
        32,
        [
            [("ir_k3", 1, 24, 1, 1)],
            [("ir_k7", 4, 48, 2, 2)],
            [("ir_k3", 7, 64, 5, 2)],
            [("ir_k5", 12, 56, 7, 2), ("ir_k3", 8, 88, 5, 1)],
            [("ir_k3", 7, 152, 4, 2), ("ir_k3", 10, 104, 1, 1)],
            [("ir_k3", 8, 88, 3, 1)],
        ],
        backbone=[0, 1, 2, 3],
        rpn=[5],
        bbox=[4],
    ),
    "cham_v2": _arch(
        32,
        [
            [("ir_k3", 1, 24, 1, 1)],
            [("ir_k5", 8, 32, 4, 2)],
            [("ir_k7", 5, 48, 6, 2)],
            [("ir_k5", 9, 56, 3, 2), ("ir_k3", 6, 56, 6, 1)],
            [("ir_k3", 2, 160, 6, 2), ("ir_k3", 6, 112, 1, 1)],
            [("ir_k3", 6, 56, 1, 1)],
        ],
        backbone=[0, 1, 2, 3],
        rpn=[5],
        bbox=[4],
    ),
}

_MOBILENET_V2_TRUNK: list[list[tuple]] = [
    [("ir_k3", 1, 16, 1, 1)],
    [("ir_k3", 6, 24, 2, 2)],
    [("ir_k3", 6, 32, 3, 2)],
    [("ir_k3", 6, 64, 4, 2), ("ir_k3", 6, 96, 3, 1)],
]

add_archs(
    {
        "default": _arch(
            32,
            [
                *_MOBILENET_V2_TRUNK,
                [("ir_k3", 4, 160, 1, 2), ("ir_k3", 6, 160, 2, 1), ("ir_k3", 6, 240, 1, 1)],
                [("ir_k3", 6, 96, 3, 1)],
                [("ir_k3", 4, 160, 1, 1), ("ir_k3", 6, 160, 3, 1), ("ir_k3", 3, 80, 1, -2)],
            ],
            backbone=[0, 1, 2, 3],
            rpn=[5],
            bbox=[4],
            mask=[6],
        ),
        "xirb16d_dsmask": _arch(
            16,
            [
                [("ir_k3", 1, 16, 1, 1)],
                [("ir_k3", 6, 32, 2, 2)],
                [("ir_k3", 6, 48, 3, 2)],
                [("ir_k3", 6, 96, 4, 2), ("ir_k3", 6, 128, 3, 1)],
                [("ir_k3", 4, 128, 1, 2), ("ir_k3", 6, 128, 2, 1), ("ir_k3", 6, 160, 1, 1)],
                [
                    ("ir_k3", 4, 128, 1, 2),
                    ("ir_k3", 6, 128, 2, 1),
                    ("ir_k3", 6, 128, 1, -2),
                    ("ir_k3", 3, 64, 1, -2),
                ],
                [("ir_k3", 6, 128, 3, 1)],
            ],
            backbone=[0, 1, 2, 3],
            rpn=[6],
            bbox=[4],
            mask=[5],
        ),
        "mobilenet_v2": _arch(
            32,
            [*_MOBILENET_V2_TRUNK, [("ir_k3", 6, 160, 3, 1), ("ir_k3", 6, 320, 1, 1)]],
            backbone=[0, 1, 2, 3],
            bbox=[4],
        ),
    }
)
add_archs(MODEL_ARCH_CHAM)
