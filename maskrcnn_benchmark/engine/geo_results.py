"""Detections as features of geographic information systems: GeoJSON and GeoPackage.

A feature is a detection's polygon: its corners where the model knows orientation (of the oriented
task's results), else its box. Images with a coordinate reference system give longitude and latitude
(WGS84) and sizes in metres; others give pixels (x right, y down), in a file or layer of their own,
since both would not fit on one map.
"""

import json
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn_benchmark.dota.annotations import boxlist_xyxy_to_corners
from maskrcnn_benchmark.dota.detections import Detections
from maskrcnn_benchmark.images.georeference import WGS84, GeoReference, side_lengths
from maskrcnn_benchmark.utils.atomic_write import written_whole

DEGREE_DECIMALS, PIXEL_DECIMALS, METRE_DECIMALS = 8, 2, 2  # 1e-8 degrees are a millimetre
WKB_POLYGON = 3

Feature = dict[str, Any]


def to_features(
    image: str,
    georeference: GeoReference | None,
    detections: Detections,
    class_names: Sequence[str],
) -> list[Feature]:
    """Make GeoJSON features (RFC 7946) of an image's detections.

    Args:
        image: the name that they bear.
        georeference: of the image; None: they are in its pixels.
        detections: by falling score.
        class_names: label 1 first.
    """
    if detections.in_task1 is not None:
        detections = detections.select(detections.in_task1)
    corners = detections.corners
    if corners is None:
        corners = boxlist_xyxy_to_corners(detections.boxes_xyxy)  # [N, 4, 2]
    decimals, sizes = PIXEL_DECIMALS, None
    if georeference is not None and len(corners):
        corners = georeference.to_lonlat(corners)
        # across the date line: beyond 180 degrees, rather than around the earth
        wide = np.ptp(corners[..., 0], axis=1) > 180
        corners[wide, :, 0] %= 360
        sides = side_lengths(corners)
        sizes = np.sort((sides[:, :2] + sides[:, 2:]) / 2, axis=1).round(METRE_DECIMALS)
        decimals = DEGREE_DECIMALS
    features = []
    for number, ring in enumerate(_counterclockwise(corners).round(decimals).tolist()):
        properties = {
            "image": image,
            "class": class_names[detections.labels[number] - 1],
            "score": round(float(detections.scores[number]), 6),
        }
        if sizes is not None:
            properties["width_m"], properties["length_m"] = sizes[number].tolist()
        polygon = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
        features.append({"type": "Feature", "geometry": polygon, "properties": properties})
    return features


def write_geojson(path: Path, features: Sequence[Feature]) -> None:
    """Write a collection of features, one a line."""
    lines = ",\n".join(json.dumps(feature, ensure_ascii=False) for feature in features)
    with written_whole(path) as part:
        text = f'{{"type": "FeatureCollection", "features": [\n{lines}\n]}}\n'
        part.write_text(text, encoding="utf-8", newline="\n")


def check_geopackage() -> None:
    """Refuse, before the work, where GeoPackage cannot be written (ImportError)."""
    try:
        import pyogrio  # noqa: F401
    except ImportError:
        raise ImportError("--gpkg needs pyogrio: pip install pyogrio") from None


def write_geopackage(path: Path, layers: dict[str, Sequence[Feature]]) -> None:
    """Write layers of features that `to_features` made.

    Args:
        path: of the file.
        layers: by name; features with sizes are in degrees, others in pixels.
    """
    import pyogrio.raw

    part = path.with_name(f".{path.stem}.part.gpkg")  # GDAL wants the suffix
    part.unlink(missing_ok=True)
    for name, features in layers.items():
        rows = [feature["properties"] for feature in features]
        is_geographic = any("width_m" in row for row in rows)
        fields = ["image", "class", "score", *(["width_m", "length_m"] if is_geographic else [])]
        columns = [
            np.array([row[field] for row in rows], object if field in fields[:2] else np.float64)
            for field in fields
        ]
        rings = [feature["geometry"]["coordinates"][0] for feature in features]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # pixels have no system
            pyogrio.raw.write(
                str(part),
                np.array([_polygon_wkb(ring) for ring in rings], dtype=object),
                columns,
                fields,
                layer=name,
                driver="GPKG",
                geometry_type="Polygon",
                crs=WGS84 if is_geographic else None,
                append=part.exists(),
            )
    part.replace(path)


def _counterclockwise(corners: np.ndarray) -> np.ndarray:
    """Turn polygons (N, 4, 2) counterclockwise for y upwards, as RFC 7946 asks; corner 1 stays."""
    x, y = corners[..., 0], corners[..., 1]
    areas = (x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1)
    return np.where((areas < 0)[:, None, None], corners[:, [0, 3, 2, 1]], corners)


def _polygon_wkb(ring: Sequence[Sequence[float]]) -> bytes:
    """Return a polygon of one ring as well-known binary (OGC 06-103r4), little-endian."""
    values = [value for point in ring for value in point]
    return struct.pack(f"<BIII{len(values)}d", 1, WKB_POLYGON, 1, len(ring), *values)
