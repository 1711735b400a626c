"""Predict on a large TIFF with a detector that finds bright blobs.

python large_image_worker.py write FILE WIDTH HEIGHT
python large_image_worker.py draw|count FILE     # prints how many files failed, and the peak in MB
"""

import sys
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window
from test_predictor import BlobModel, make_predictor

from maskrcnn_benchmark.engine.predict_files import predict_files
from maskrcnn_benchmark.utils.process_memory import peak_memory_mb

STEP = 1000  # pixels from one blob to the next, both ways


def write_scene(path: Path, width: int, height: int) -> None:
    """Write a compressed, tiled RGB file, row of tiles by row, with a blob in every STEP pixels."""
    shape = {"count": 3, "width": width, "height": height, "dtype": "uint8", "tiled": True}
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.5, 0, 4e5, 0, -0.5, 5e6)}
    rows = np.random.default_rng(0).integers(0, 100, (512, width), np.uint8)
    with rasterio.open(path, "w", driver="GTiff", compress="lzw", **shape, **place) as file:
        for top in range(0, height, 512):
            band = rows[: min(512, height - top)].copy()
            for y in range(-top % STEP, len(band) - 20, STEP):
                for x in range(300, width - 20, STEP):
                    band[y : y + 20, x : x + 20] = 255
            window = Window(0, top, width, len(band))
            for number in (1, 2, 3):
                file.write(band, number, window=window)


def predict(path: Path, draw: bool) -> int:
    """Predict on a file; return how many failed."""
    sizes = {"INPUT.MIN_SIZE_TEST": 1024, "INPUT.MAX_SIZE_TEST": 1024}
    tiles = {"DOTA.TILE": 1024, "DOTA.OVERLAP": 200, "INPUT.MAX_PIXELS": 1024 * 1024}
    model = BlobModel()
    model.seen = ForgetfulList()
    predictor = make_predictor(model, **sizes, **tiles, **{"TEST.IMS_PER_BATCH": 1})
    return predict_files(predictor, [path], path.parent / "out", ["blob"], 0.0, {}, draw=draw)


class ForgetfulList(list):
    """What the detector saw would be all of the image."""

    def append(self, _: object) -> None:
        """Keep nothing."""


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write_scene(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        failed = predict(Path(sys.argv[2]), draw=sys.argv[1] == "draw")
        print(failed, round(peak_memory_mb()))
