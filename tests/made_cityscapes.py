"""A small data set in Cityscapes' folders, drawn by the tests."""

import json

import numpy as np
from made_data import gradient
from PIL import Image

from maskrcnn_benchmark.data.datasets.cityscapes import INSTANCE_CLASSES
from maskrcnn_benchmark.images.image_io import write_image

WIDTH, HEIGHT = 120, 80
BUILDING, OUT_OF_ROI = 11, 3  # label ids: a class without objects; pixels that are not evaluated
# (label, x1, y1, x2, y2), both ends included, later ones in front
SCENES = {
    "aachen/aachen_000000_000019": [
        ("car", 5, 10, 34, 29),  # 30 x 20
        ("car", 25, 20, 54, 44),  # 30 x 25, hides 10 x 10 of the first
        ("person", 70, 8, 81, 47),
        ("person", 90, 10, 97, 19),  # 8 x 10: below the official 100 pixels
        ("cargroup", 60, 55, 99, 74),
    ],
    "aachen/aachen_000001_000019": [],
    "bochum/bochum_000000_000313": [
        ("bicycle", 11, 40, 40, 69),
        ("caravan", 60, 20, 99, 49),
    ],
}


def make_cityscapes(folder, split="val", scenes=None):
    """Write leftImg8bit and gtFine; return their paths.

    The lowest 5 rows of every image lie out of the region of interest.
    """
    for name, objects in (scenes or SCENES).items():
        image = folder / "leftImg8bit" / split / f"{name}_leftImg8bit.png"
        labels = folder / "gtFine" / split / f"{name}_gtFine_polygons.json"
        for path in (image, labels):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_image(image, gradient(WIDTH, HEIGHT))
        pixels, polygons, seen = np.full((HEIGHT, WIDTH), BUILDING, np.uint16), [], {}
        for label, x1, y1, x2, y2 in objects:
            number = INSTANCE_CLASSES[label.removesuffix("group")]
            if not label.endswith("group"):
                seen[label] = seen.get(label, -1) + 1
                number = number * 1000 + seen[label]
            pixels[y1 : y2 + 1, x1 : x2 + 1] = number
            corners = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
            polygons.append({"label": label, "polygon": corners})
        pixels[-5:] = OUT_OF_ROI
        Image.fromarray(pixels).save(str(labels).replace("polygons.json", "instanceIds.png"))
        polygons.append({"label": "building", "polygon": [[0, 0], [9, 0], [9, 9]]})
        content = {"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": polygons}
        labels.write_text(json.dumps(content))
    return str(folder / "leftImg8bit"), str(folder / "gtFine")
