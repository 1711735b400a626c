"""Many images, windows and frames of a video through one predictor, in batches."""

import itertools
import re
import weakref

import cv2
import numpy as np
import pytest
import torch
from launching import ROOT
from PIL import Image
from test_predictor import BLOBS, BlobModel, make_predictor, scene
from tiny_models import FPN_BODY, FPN_MASK, NARROW, make_cfg, tiny_mask_rcnn

from maskrcnn_benchmark.engine.predictor import Predictor
from maskrcnn_benchmark.images.image_io import write_image
from maskrcnn_benchmark.images.image_reader import DecodedImage, Window
from maskrcnn_benchmark.images.open_image import open_image
from maskrcnn_benchmark.utils.precision import set_float32_precision

UNCUT = {"DOTA.TILE": 0}


def shifted(count):
    """Return small scenes of one size, in each of which one blob lies elsewhere."""
    return [scene(120, 90, [(5 * k + 3, 20, 5 * k + 22, 39)]) for k in range(count)]


def assert_equal(found, expected):
    assert found.size == expected.size and found.fields() == expected.fields()
    assert torch.equal(found.bbox, expected.bbox)
    assert all(torch.equal(found.get_field(f), expected.get_field(f)) for f in found.fields())


def test_images_of_every_form_give_what_each_gives_alone(tmp_path):
    write_image(tmp_path / "file.png", scene())
    rgb = np.ascontiguousarray(scene(110, 64, [(30, 20, 59, 39)])[..., ::-1])
    images = [
        *(scene(), tmp_path / "file.png", str(tmp_path / "file.png"), Image.fromarray(rgb)),
        *(np.zeros((40, 30, 3), np.uint8), (scene(), Window(90, 40, 100, 100))),
        *(DecodedImage(scene(97, 200, [(70, 150, 89, 179)])), *shifted(3)),
    ]
    for with_masks in (False, True):
        predictor = make_predictor(BlobModel(with_masks))
        found = list(predictor.predict_many(images))
        assert len(found) == len(images)
        for boxes, image in zip(found, images, strict=True):
            assert_equal(boxes, predictor.predict(image))
        assert [len(boxes) for boxes in found[3:6]] == [1, 0, 2]


def test_windows_of_one_size_share_batches_across_images():
    model = BlobModel()
    predictor = make_predictor(model, **{"TEST.IMS_PER_BATCH": 4})
    assert len(list(predictor.predict_many([scene(), scene()]))) == 2
    assert [len(batch) for batch in model.seen] == [4] * 7 + [2]  # 2 x 15 windows
    model.seen.clear()
    # five small images are a window each, 120 x 90, enlarged to 256 x 192; then squares
    assert len(list(predictor.predict_many([*shifted(5), scene()], tile=120))) == 6
    assert [len(batch) for batch in model.seen][:2] == [4, 1]
    shapes = {tuple(batch.shape[2:]) for batch in model.seen[:2]}, model.seen[2].shape[2:]
    assert shapes == ({(192, 256)}, (192, 192))  # none is padded to another's size


def test_channel_order_tile_and_overlap_are_those_of_predict():
    model = BlobModel()
    predictor = make_predictor(model)
    red = np.zeros((60, 300, 3), np.uint8)
    red[..., 0] = 200  # of RGB
    list(predictor.predict_many([red], channel_order="RGB", tile=200, overlap=50))
    assert sum(len(batch) for batch in model.seen) == 2
    assert model.seen[0][0, 2].max() == 200 and model.seen[0][0, :2].max() == 0


def test_a_video_without_end_takes_the_memory_of_some_frames():
    predictor = make_predictor(BlobModel(), **UNCUT, **{"TEST.IMS_PER_BATCH": 2})
    predictor.model.seen = type("Forgetful", (list,), {"append": lambda *_: None})()
    asked, alive, most = 0, weakref.WeakSet(), 0

    class Frame(np.ndarray):  # a plain array cannot stand in a set
        __hash__ = object.__hash__

    def frames():
        nonlocal asked, most
        while True:
            asked += 1
            frame = shifted(1)[0].view(Frame)
            alive.add(frame)
            most = max(most, len(alive))
            yield frame

    found = predictor.predict_many(frames())
    for number, boxes in enumerate(itertools.islice(found, 20), start=1):
        assert len(boxes) == 1
        # the batch in work, the one that is read, and one frame that shows that it is whole
        assert asked <= number + 2 + 2 + 1
    found.close()
    assert asked < 26 and most <= 3


def test_a_buffer_that_a_camera_fills_again_is_read_in_time():
    scenes, buffer = shifted(5), np.zeros((90, 120, 3), np.uint8)

    def frames():
        for image in scenes:
            buffer[:] = image
            yield buffer

    plain = make_predictor(BlobModel(), **UNCUT)
    augmented = make_predictor(BlobModel(), **UNCUT)
    augmented.bbox_aug = lambda _, pictures, __: plain._run_model(pictures)
    for predictor in (plain, augmented):
        found = list(predictor.predict_many(frames()))
        expected = [predictor.predict(image) for image in scenes]
        assert [float(boxes.bbox[0, 0]) for boxes in expected] == pytest.approx(
            [3, 8, 13, 18, 23], abs=1
        )
        for boxes, alone in zip(found, expected, strict=True):
            assert_equal(boxes, alone)


def test_images_before_a_broken_one_have_their_results():
    predictor = make_predictor(BlobModel(), **UNCUT, **{"TEST.IMS_PER_BATCH": 4})
    found = predictor.predict_many([*shifted(2), "nowhere.png", *shifted(1)])
    assert [len(next(found)), len(next(found))] == [1, 1]
    with pytest.raises(FileNotFoundError, match="nowhere.png"):
        next(found)


class NotedImage(DecodedImage):
    """An image that keeps the windows that were read."""

    def __init__(self, image):
        super().__init__(image)
        self.windows = []

    def read(self, window):
        self.windows.append(window)
        return super().read(window)


def test_a_window_is_read_alone_and_found_in_the_images_pixels():
    image = NotedImage(scene())
    part = Window(90, 50, 100, 60)
    found = make_predictor(BlobModel(), **UNCUT).predict((image, part))
    assert image.windows == [part] and found.size == (300, 200)
    # whole: (100, 60, 139, 79); cut by the window: (180, 50, 189, 90)
    boxes = sorted(found.bbox.round().tolist())
    assert boxes == [pytest.approx(b, abs=1) for b in ([100, 60, 139, 79], [180, 50, 189, 90])]
    # in windows of its own: 90 and 94, 40 overlapping
    image.windows.clear()
    make_predictor(BlobModel()).predict((image, part))
    assert [(w.x0, w.y0, w.width, w.height) for w in image.windows] == [
        (90, 50, 96, 60),
        (94, 50, 96, 60),
    ]


@pytest.mark.parametrize(
    "part",
    [Window(0, 0, 0, 10), Window(-1, 0, 10, 10), Window(290, 0, 11, 10), Window(0, 150, 9, 51)],
)
def test_a_window_off_the_image_is_refused(part):
    with pytest.raises(ValueError, match="expected a window inside 300 x 200 pixels, got Window"):
        make_predictor(BlobModel()).predict((scene(), part))


def test_a_window_of_a_geotiff_is_read_from_the_file(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    shape = {"count": 3, "width": 300, "height": 200, "dtype": "uint8"}
    with rasterio.open(tmp_path / "scene.tif", "w", driver="GTiff", **shape) as file:
        file.write(scene().transpose(2, 0, 1))
    predictor = make_predictor(BlobModel())
    part = Window(90, 50, 100, 60)
    expected = predictor.predict((scene(), part))
    assert len(expected) > 0
    assert_equal(predictor.predict((tmp_path / "scene.tif", part)), expected)
    with open_image(tmp_path / "scene.tif") as reader:
        parts = predictor.predict_many((reader, w) for w in (part, Window(240, 140, 60, 60)))
        assert_equal(next(parts), expected)
        assert len(next(parts)) == 1  # the reader is still open


def test_a_real_model_finds_in_batches_what_it_finds_alone():
    options = ["MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.NUM_CLASSES", 4]
    options += ["INPUT.MIN_SIZE_TEST", 96, "INPUT.MAX_SIZE_TEST", 128, "TEST.IMS_PER_BATCH", 3]
    cfg = make_cfg(*FPN_BODY, *FPN_MASK, *NARROW, *options)
    predictor = Predictor(cfg, tiny_mask_rcnn())
    rng = np.random.default_rng(5)
    images = [rng.integers(0, 256, (96, width, 3), dtype=np.uint8) for width in (110, 110, 128)]
    for found, image in zip(predictor.predict_many(images), images, strict=True):
        alone = predictor.predict(image)
        assert len(found) == len(alone) > 20
        # convolutions of other batch sizes may take kernels that round otherwise
        assert found.bbox == pytest.approx(alone.bbox, abs=1e-2)
        assert found.get_field("scores") == pytest.approx(alone.get_field("scores"), abs=1e-4)


def test_fault_float32_was_tf32_on_gpus_outside_the_tools():
    try:
        for dtype, allowed in (("tf32", True), ("float32", False)):
            torch.backends.cudnn.allow_tf32 = not allowed
            make_predictor(BlobModel(), DTYPE=dtype)
            assert torch.backends.cudnn.allow_tf32 == allowed
    finally:
        set_float32_precision("float32")


def make_video(path):
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (120, 90))
    for frame in shifted(3):
        video.write(frame)
    video.release()


def test_the_readmes_example_runs_as_written(tmp_path, monkeypatch, capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = [b for b in re.findall(r"(?:^ {4}.*\n|^\n)+", text, flags=re.M) if "Predictor" in b]
    options = ["MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.NUM_CLASSES", 4]
    options += ["INPUT.MIN_SIZE_TEST", 96, "INPUT.MAX_SIZE_TEST", 128]
    options += ["DOTA.CLASSES", ("plane", "ship", "harbor")]
    cfg = make_cfg(*FPN_BODY, *FPN_MASK, *NARROW, *options)
    (tmp_path / "output" / "mine").mkdir(parents=True)
    (tmp_path / "output" / "mine" / "config.yml").write_text(cfg.dump())
    model = {"model": tiny_mask_rcnn().state_dict()}
    torch.save(model, tmp_path / "output" / "mine" / "model_final.pth")
    write_image(tmp_path / "scene.png", scene())
    cv2.imwrite(str(tmp_path / "large.tif"), scene(3100, 2200, []))
    make_video(tmp_path / "flight.avi")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec("".join(line.removeprefix("    ") for line in block.splitlines(True)), names)
    assert names["found"].size == (120, 90) and len(names["corners"]) == len(names["boxes"])
    assert (tmp_path / "scene_found.png").is_file()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[-3:]] == ["frame 0", "frame 1", "frame 2"]
    assert len(lines) == 3 + len(names["boxes"]) > 10


def test_all_blobs_are_in_the_scene():
    assert len(make_predictor(BlobModel(), **UNCUT).predict(scene())) == len(BLOBS)
