"""Cityscapes' annotations in COCO's format."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from made_cityscapes import HEIGHT, SCENES, WIDTH, make_cityscapes
from PIL import Image

from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog
from maskrcnn_benchmark.data.build import build_dataset
from maskrcnn_benchmark.data.datasets.cityscapes_to_coco import convert_cityscapes_instance_only


def test_converted_set(tmp_path, monkeypatch):
    """The catalog's cocostyle data sets read the file that the tool writes."""
    home = tmp_path / "cityscapes"
    scenes = {**SCENES, "ulm/ulm_000000_000019": [("bus", 10, 10, 39, 29), ("car", 12, 10, 39, 29)]}
    make_cityscapes(home, "val", scenes)
    tool = Path(__file__).parents[1] / "tools" / "cityscapes" / "convert_cityscapes_to_coco.py"
    arguments = ["--datadir", str(home), "--outdir", str(home / "annotations")]
    runpy.run_path(str(tool))["main"]([*arguments, "--dataset", "cityscapes_instance_only"])
    (home / "images").mkdir()
    for path in (home / "leftImg8bit").glob("*/*/*.png"):
        path.rename(home / "images" / path.name)

    monkeypatch.setattr(DatasetCatalog, "DATA_DIR", str(tmp_path))
    names = ["cityscapes_fine_instanceonly_seg_val_cocostyle"]
    (dataset,) = build_dataset(names, None, DatasetCatalog, is_train=False)
    assert list(dataset.categories.values()) == [
        *("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
    ]
    targets = [dataset[index][1] for index in range(len(dataset))]
    assert [target.get_field("labels").tolist() for target in targets] == [
        [1, 1, 3, 3],
        [],
        [8],  # the caravan is no category
        [3, 5],
    ]
    assert targets[0].bbox.tolist()[2:] == [[5, 10, 34, 29], [25, 20, 54, 44]]
    areas = [obj["area"] for obj in dataset.coco.dataset["annotations"][:4]]
    assert areas == [12 * 40, 8 * 10, 30 * 20 - 10 * 10, 30 * 25]
    assert targets[3].bbox.tolist()[1] == [10, 10, 11, 29]  # 2 x 20 of the bus are left
    assert min(dataset.coco.anns) == 1
    image, _, _ = dataset[3]
    assert image.shape == (HEIGHT, WIDTH, 3)


def test_fault_a_fragment_of_a_pixel_drops_the_whole_object(tmp_path):
    """The original left out every object that has an outline of less than three points."""
    pixels = np.full((40, 60), 7, np.uint16)
    pixels[5:20, 10:31] = 26000
    pixels[30, 50] = 26000  # seen through a gap
    pixels[35, 5] = 24000  # the only pixel of this object
    folder = tmp_path / "gtFine_trainvaltest" / "gtFine" / "train" / "ulm"
    folder.mkdir(parents=True)
    Image.fromarray(pixels).save(folder / "ulm_000000_000019_gtFine_instanceIds.png")
    (path,) = convert_cityscapes_instance_only(str(tmp_path), str(tmp_path / "out"))
    assert path.endswith("instancesonly_filtered_gtFine_train.json")
    content = json.loads(Path(path).read_text())
    (car,) = content["annotations"]
    assert (car["category_id"], car["area"], car["bbox"]) == (3, 15 * 21 + 1, [10, 5, 21, 15])
    assert len(car["segmentation"]) == 1
    assert content["images"] == [
        {
            "id": 1,
            "width": 60,
            "height": 40,
            "file_name": "ulm_000000_000019_leftImg8bit.png",
            "seg_file_name": "ulm_000000_000019_gtFine_instanceIds.png",
        }
    ]


def test_nothing_to_convert(tmp_path):
    with pytest.raises(FileNotFoundError, match="none of val, train and test in .*gtFine"):
        convert_cityscapes_instance_only(str(tmp_path), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
