"""Detections on the map: read back by other programs, and brought back to the image's pixels."""

import json
import sqlite3

import numpy as np
import pytest
from test_predictor import BlobModel, make_predictor, predict_files, scene

from maskrcnn_benchmark.dota.detections import Detections
from maskrcnn_benchmark.engine.geo_results import to_features
from maskrcnn_benchmark.images.georeference import GeoReference, side_lengths
from maskrcnn_benchmark.images.image_io import write_image

rasterio = pytest.importorskip("rasterio")
TURNED = [[[30, 10], [50, 30], [45, 35], [25, 15]]]  # sides of 28.28 and 7.07 pixels


def detections(corners=None):
    return Detections([[10, 20, 49, 29]], [0.75], [2], corners)


def only_feature(georeference, corners=None):
    (feature,) = to_features("P1", georeference, detections(corners), ["car", "ship"])
    return feature, np.array(feature["geometry"]["coordinates"][0])


def test_without_a_system_features_are_in_pixels():
    feature, ring = only_feature(None)
    assert feature["properties"] == {"image": "P1", "class": "ship", "score": 0.75}
    # edges 10..50 and 20..30; counterclockwise where y points up, closed
    assert ring.tolist() == [[10, 20], [50, 20], [50, 30], [10, 30], [10, 20]]
    _, ring = only_feature(None, TURNED)
    assert ring.tolist() == [*TURNED[0], TURNED[0][0]]


def signed_area(ring):
    (x, y), (u, v) = ring[:-1].T, ring[1:].T
    return float((x * v - u * y).sum() / 2)


# pixels of half a metre beside UTM zone 33's central meridian, and the like elsewhere
PLACES = {
    "UTM": GeoReference("EPSG:32633", (0.5, 0, 500000, 0, -0.5, 5e6)),
    "south, turned": GeoReference("EPSG:32733", (0.3, 0.4, 300000, 0.4, -0.3, 8e6)),
    "Web Mercator": GeoReference("EPSG:3857", (0.5, 0, 1e6, 0, -0.5, 0)),
    "degrees": GeoReference("EPSG:4326", (4.5e-6, 0, 7, 0, -4.5e-6, 0)),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("corners", [None, TURNED], ids=["upright", "oriented"])
def test_features_come_back_to_the_pixels_and_have_metres(place, corners):
    feature, ring = only_feature(place, corners)
    assert signed_area(ring) > 0  # counterclockwise
    back = np.array(rasterio.warp.transform("EPSG:4326", place.crs, *ring[:4].T)).T
    to_pixels = ~rasterio.Affine(*place.transform)
    pixels = sorted(tuple(np.round(to_pixels @ tuple(point), 1)) for point in back)
    wanted = corners[0] if corners else [[10, 20], [50, 20], [50, 30], [10, 30]]
    np.testing.assert_allclose(pixels, sorted(map(tuple, wanted)), atol=0.11)
    # half a metre a pixel, to the projections' scale: 0.9996 in the meridian of a UTM zone
    lengths = (28.28 / 2, 7.07 / 2) if corners else (20, 5)
    found = feature["properties"]
    assert (found["length_m"], found["width_m"]) == pytest.approx(lengths, rel=0.012)


def test_sides_on_the_ellipsoid():
    # a degree of latitude at the equator is 110,574 m, one of longitude 111,320 m; at 60 degrees
    # they are 111,412 m and 55,800 m (WGS84's published figures); here a thousandth of each
    for latitude, east, north in ((0, 111.320, 110.574), (60, 55.800, 111.412)):
        y = latitude - 0.0005
        square = np.array([[[5, y], [5.001, y], [5.001, y + 0.001], [5, y + 0.001]]])
        np.testing.assert_allclose(side_lengths(square)[0], [east, north] * 2, rtol=3e-5)


def test_a_box_across_the_date_line_does_not_span_the_earth():
    place = GeoReference("EPSG:4326", (4e-6, 0, 180 - 1e-4, 0, -4e-6, 0))
    feature, ring = only_feature(place)
    assert np.ptp(ring[:, 0]) == pytest.approx(40 * 4e-6) and ring[:, 0].max() > 180
    assert feature["properties"]["length_m"] == pytest.approx(40 * 4e-6 * 111320, abs=0.02)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_files_hold_the_same_for_other_programs(tmp_path):
    pytest.importorskip("pyogrio")
    shapely = pytest.importorskip("shapely")
    write_image(tmp_path / "plain.png", scene())
    shape = {"count": 3, "height": 200, "width": 300, "dtype": "uint8"}
    shape |= {"crs": "EPSG:32633", "transform": rasterio.Affine(*PLACES["UTM"].transform)}
    with rasterio.open(tmp_path / "town.tif", "w", driver="GTiff", **shape) as file:
        file.write(scene().transpose(2, 0, 1))
    images, out = [tmp_path / "plain.png", tmp_path / "town.tif"], tmp_path / "out"
    predictor = make_predictor(BlobModel(with_masks=True))
    options = {"draw": False, "geopackage": True}
    assert predict_files(predictor, images, out, ["b"], 0.05, {}, **options) == 0
    lines = (out / "Task1_b.txt").read_text().splitlines()
    tables = sqlite3.connect(out / "detections.gpkg")
    for layer, image, srs in (("detections", "town", 4326), ("detections_pixels", "plain", None)):
        features = json.loads((out / f"{layer}.geojson").read_text())["features"]
        wanted = [line.split() for line in lines if line.startswith(f"{image} ")]
        assert len(features) == len(wanted) > 2
        rows = tables.execute(f'SELECT geom, image, class, score FROM "{layer}"').fetchall()
        for (blob, *row), feature in zip(rows, features, strict=True):
            assert row == [feature["properties"][key] for key in ("image", "class", "score")]
            assert blob[:2] == b"GP" and blob[3] >> 1 & 7 == 1  # an envelope of 32 bytes follows
            polygon = shapely.from_wkb(blob[8 + 32 :])
            assert polygon.equals(shapely.from_geojson(json.dumps(feature["geometry"])))
        (found,) = tables.execute(
            "SELECT organization_coordsys_id FROM gpkg_contents JOIN gpkg_spatial_ref_sys "
            "USING (srs_id) WHERE table_name = ?",
            [layer],
        ).fetchone()
        assert found == 4326 if srs else found != 4326
