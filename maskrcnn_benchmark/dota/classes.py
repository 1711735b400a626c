"""The class names of DOTA's versions, in the order that published models number them."""

from collections.abc import Iterable, Sequence

DOTA_V1_0 = (
    "plane",
    "baseball-diamond",
    "bridge",
    "ground-track-field",
    "small-vehicle",
    "large-vehicle",
    "ship",
    "tennis-court",
    "basketball-court",
    "storage-tank",
    "soccer-ball-field",
    "roundabout",
    "harbor",
    "swimming-pool",
    "helicopter",
)
DOTA_V1_5 = (*DOTA_V1_0, "container-crane")
DOTA_V2_0 = (*DOTA_V1_5, "airport", "helipad")

VERSIONS = {"1.0": DOTA_V1_0, "1.5": DOTA_V1_5, "2.0": DOTA_V2_0}


def class_names(version: str | float) -> tuple[str, ...]:
    """Name a DOTA version's classes; label k of a network is the name at k - 1 (0: background).

    Args:
        version: "1.0" (15 classes), "1.5" (16) or "2.0" (18); yacs makes a float of it.

    Raises:
        ValueError: another version.
    """
    if str(version) not in VERSIONS:
        raise ValueError(f"DOTA version must be one of {', '.join(VERSIONS)}, got {version!r}")
    return VERSIONS[str(version)]


def version_of(names: Sequence[str]) -> str | None:
    """Return the version that has exactly these classes, None if there is none."""
    return next((v for v, known in VERSIONS.items() if tuple(names) == known), None)


def in_order(names: Iterable[str]) -> list[str]:
    """Return DOTA's classes in DOTA's order, others after them by the alphabet."""
    rank = {name: place for place, name in enumerate(DOTA_V2_0)}
    return sorted(names, key=lambda name: (rank.get(name, len(rank)), name))
