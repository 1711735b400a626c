"""The demo's old name: what the model sees, what is drawn where."""

import importlib
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from second_device import SecondDevice
from tiny_models import FPN_BODY, FPN_MASK, NARROW, make_cfg, tiny_mask_rcnn

from maskrcnn_benchmark.demo import webcam
from maskrcnn_benchmark.demo.predictor import COCODemo, Resize, vis_keypoints
from maskrcnn_benchmark.images.image_io import write_image
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints

HEIGHT, WIDTH = 60, 90


def photo() -> np.ndarray:
    """Return a BGR gradient, bluer to the right and redder below."""
    bgr = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    bgr[..., 0] = np.linspace(0, 200, WIDTH)
    bgr[..., 2] = np.linspace(50, 250, HEIGHT)[:, None]
    return bgr


def make_demo(tmp_path, *options, **arguments) -> COCODemo:
    channels = ["MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.NUM_CLASSES", 4]
    model = tiny_mask_rcnn()
    torch.save({"model": model.state_dict()}, tmp_path / "weights.pth")
    paths = ["MODEL.WEIGHT", str(tmp_path / "weights.pth"), "OUTPUT_DIR", str(tmp_path)]
    sizes = ["INPUT.MIN_SIZE_TEST", 90, "INPUT.MAX_SIZE_TEST", 200]
    cfg = make_cfg(*FPN_BODY, *FPN_MASK, *NARROW, *channels, *paths, *sizes, *options)
    return COCODemo(cfg, **arguments)


def prediction() -> BoxList:
    """Return three objects, the best one last."""
    boxes = torch.tensor([[10.0, 20, 40, 50], [50, 5, 80, 30], [55, 33, 70, 45]])
    found = BoxList(boxes, (WIDTH, HEIGHT))
    found.add_field("labels", torch.tensor([1, 2, 3]))
    found.add_field("scores", torch.tensor([0.8, 0.5, 0.9]))
    masks = torch.zeros(3, 1, HEIGHT, WIDTH, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        mask[0, y1 : y2 + 1, x1 : x2 + 1] = True
    found.add_field("mask", masks)
    return found


def test_demo_loads_weights_and_predicts_with_pasted_masks(tmp_path):
    demo = make_demo(tmp_path, confidence_threshold=0.2)
    expected = tiny_mask_rcnn().state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in demo.model.state_dict().items())
    found = demo.compute_prediction(photo())
    assert found.size == (WIDTH, HEIGHT) and len(found) > 0
    assert found.get_field("mask").shape == (len(found), 1, HEIGHT, WIDTH)
    assert found.get_field("mask").dtype == torch.bool
    drawn = demo.run_on_opencv_image(photo())
    assert drawn.shape == (HEIGHT, WIDTH, 3) and (drawn != photo()).any()


def test_demo_predicts_with_test_time_augmentation(tmp_path):
    plain = make_demo(tmp_path).compute_prediction(photo())
    one_view = make_demo(tmp_path, "TEST.BBOX_AUG.ENABLED", True).compute_prediction(photo())
    assert torch.equal(one_view.bbox, plain.bbox) and len(plain) > 0
    assert torch.equal(one_view.get_field("mask"), plain.get_field("mask"))


def test_fault_masks_that_the_model_had_pasted_were_pasted_again(tmp_path):
    plain = make_demo(tmp_path).compute_prediction(photo())
    asked = make_demo(tmp_path, "MODEL.ROI_MASK_HEAD.POSTPROCESS_MASKS", True)
    found = asked.compute_prediction(photo())
    assert plain.get_field("mask").any()
    assert torch.equal(found.get_field("mask"), plain.get_field("mask"))


@pytest.mark.parametrize("aug", [False, True], ids=["plain", "augmented"])
def test_demo_predicts_on_a_second_device(tmp_path, aug):
    options = ["TEST.BBOX_AUG.ENABLED", aug]
    plain = make_demo(tmp_path, *options).compute_prediction(photo())
    with SecondDevice():
        demo = make_demo(tmp_path, "MODEL.DEVICE", "fake", *options, confidence_threshold=0.2)
        assert {p.device.type for p in demo.model.parameters()} == {"fake"}
        found = demo.compute_prediction(photo())
        drawn = demo.run_on_opencv_image(photo())
    assert len(plain) > 0 and found.bbox == pytest.approx(plain.bbox, abs=1e-4)
    assert torch.equal(found.get_field("mask"), plain.get_field("mask"))
    assert (drawn != photo()).any()


def test_weight_loading_replaces_the_weights_of_the_config(tmp_path):
    changed = tiny_mask_rcnn().state_dict()
    name = "roi_heads.box.predictor.cls_score.bias"
    changed[name] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    torch.save({"model": changed}, tmp_path / "other.pth")
    demo = make_demo(tmp_path, weight_loading=str(tmp_path / "other.pth"))
    assert demo.model.state_dict()[name].tolist() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("to_bgr255", [True, False])
def test_network_sees_the_same_pixels_whatever_the_image_comes_as(tmp_path, to_bgr255):
    mean = (10.0, 20.0, 30.0) if to_bgr255 else (0.1, 0.2, 0.3)
    std = (1.0, 2.0, 4.0)
    options = ["INPUT.TO_BGR255", to_bgr255, "INPUT.PIXEL_MEAN", mean, "INPUT.PIXEL_STD", std]
    demo = make_demo(tmp_path, *options, "DATALOADER.SIZE_DIVISIBILITY", 32)
    seen = []

    def model(images):
        seen.append(images)
        height, width = images.image_sizes[0]
        return [BoxList(torch.tensor([[30.0, 15.0, 59.0, 44.0]]), (int(width), int(height)))]

    demo.model = model
    bgr = photo()
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    write_image(tmp_path / "photo.png", bgr)
    found = [demo.compute_prediction(bgr), demo.compute_prediction(rgb, channel_order="RGB")]
    found += [demo.compute_prediction(Image.fromarray(rgb))]
    found += [demo.compute_prediction(tmp_path / "photo.png")]
    # 90x60 becomes 135x90, padded to 160x96: a scale of 1.5
    assert seen[0].tensors.shape == (1, 3, 96, 160) and seen[0].image_sizes == [(90, 135)]
    for images, boxes in zip(seen, found, strict=True):
        assert torch.equal(images.tensors, seen[0].tensors)
        assert boxes.bbox.tolist() == [pytest.approx([20.0, 10.0, 59 / 1.5, 44 / 1.5])]
    # the lower right corner: blue 200, red 250
    values = (200, 0, 250) if to_bgr255 else (250 / 255, 0, 200 / 255)
    expected = [(v - m) / s for v, m, s in zip(values, mean, std, strict=True)]
    assert seen[0].tensors[0, :, 89, 134].tolist() == pytest.approx(expected, rel=1e-4)


def test_top_predictions_are_above_the_threshold_best_first(tmp_path):
    demo = make_demo(tmp_path, confidence_threshold=0.5)
    top = demo.select_top_predictions(prediction())
    assert top.get_field("scores").tolist() == pytest.approx([0.9, 0.8])
    assert top.get_field("labels").tolist() == [3, 1]


def test_boxes_masks_and_names_are_drawn_where_they_are(tmp_path):
    demo, found = make_demo(tmp_path), prediction()
    colors = demo.compute_colors_for_labels(found.get_field("labels"))
    # (2^25 - 1) mod 255 = 1, (2^15 - 1) mod 255 = 127, (2^21 - 1) mod 255 = 31, times the label
    assert colors.tolist() == [[1, 127, 31], [2, 254, 62], [3, 126, 93]]
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    boxes = demo.overlay_boxes(black.copy(), found)
    assert boxes[20, 25].tolist() == [1, 127, 31] and boxes[30, 80].tolist() == [2, 254, 62]
    assert not boxes[35, 25].any()
    outlines = demo.overlay_mask(black.copy(), found)
    assert outlines[39, 55].tolist() == [3, 126, 93] and not outlines[35, 25].any()
    names = demo.overlay_class_names(black.copy(), found)
    assert names[14:20, 10:60].max() == 255 and not names[55:].any()
    assert [demo.CATEGORIES[k] for k in (0, 1, 80)] == ["__background", "person", "toothbrush"]
    assert len(demo.CATEGORIES) == 81


def test_montage_puts_the_masks_into_a_grid(tmp_path):
    demo = make_demo(tmp_path, show_mask_heatmaps=True)
    montage = demo.create_mask_montage(photo(), prediction())
    assert montage.shape == (HEIGHT, WIDTH, 3)
    high, low = [0, 0, 128], [128, 0, 0]  # the ends of OpenCV's JET, BGR
    # (25, 35) of the first mask is (12, 17) of the first cell; the second cell begins at x = 45
    assert montage[17, 12].tolist() == high and montage[2, 2].tolist() == low
    assert montage[7, 45 + 32].tolist() == high  # (65, 15) of the second mask
    assert montage[30 + 20, 31].tolist() == high  # (62, 40) of the third, below
    assert montage[50, 45 + 31].tolist() == low  # no fourth
    assert demo.run_on_opencv_image(photo()).shape == (HEIGHT, WIDTH, 3)


def test_keypoints_that_are_sure_are_drawn(tmp_path):
    points = np.full((3, 17), 0.0)
    names = PersonKeypoints.NAMES
    for name, place in (("left_eye", (20, 10)), ("nose", (30, 25)), ("left_hip", (80, 50))):
        points[:, names.index(name)] = (*place, 5.0)
    points[2, names.index("left_hip")] = 1.0  # not sure
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    drawn = vis_keypoints(black, points, alpha=1.0)
    assert drawn[10, 20].any() and drawn[25, 30].any() and not drawn[45:, 70:].any()
    assert drawn[17:19, 24:27].any() and not black.any()  # the line between them

    found = prediction()[:1]
    persons = PersonKeypoints(torch.from_numpy(points.T[None]).float(), (WIDTH, HEIGHT))
    persons.add_field("logits", torch.from_numpy(points[2][None]).float())
    found.add_field("keypoints", persons)
    blended = make_demo(tmp_path).overlay_keypoints(black, found)
    assert np.abs(blended.astype(int) - drawn * 0.7).max() <= 1


class Camera:
    """Two pictures, then none."""

    def __init__(self, source):
        self.pictures = [photo(), photo() // 2] if source == 3 else []

    def read(self):
        return (True, self.pictures.pop(0)) if self.pictures else (False, None)

    def release(self):
        self.pictures = None


def test_webcam_shows_every_picture_with_detections(tmp_path, monkeypatch):
    demo, shown = make_demo(tmp_path, confidence_threshold=0.2), []
    monkeypatch.setattr(webcam.cv2, "VideoCapture", Camera)
    monkeypatch.setattr(webcam.cv2, "imshow", lambda title, picture: shown.append(picture))
    monkeypatch.setattr(webcam.cv2, "waitKey", lambda milliseconds: -1)
    monkeypatch.setattr(webcam.cv2, "destroyAllWindows", lambda: None)
    webcam.show(demo, 3)
    expected = [demo.run_on_opencv_image(picture) for picture in (photo(), photo() // 2)]
    assert len(shown) == 2 and all(map(np.array_equal, shown, expected))
    with pytest.raises(OSError, match="video missing.mp4 gives no picture"):
        webcam.show(demo, "missing.mp4")


def test_webcam_without_windows_says_what_to_install(tmp_path, monkeypatch):
    def no_window(title, picture):
        raise webcam.cv2.error("not implemented")

    monkeypatch.setattr(webcam.cv2, "VideoCapture", Camera)
    monkeypatch.setattr(webcam.cv2, "imshow", no_window)
    with pytest.raises(OSError, match="pip install opencv-python$"):
        webcam.show(make_demo(tmp_path), 3)


def test_own_folder_named_demo_goes_first(tmp_path, monkeypatch):
    own = tmp_path / "demo"
    own.mkdir()
    (own / "mine.py").write_text("NAME = 'mine'\n")
    monkeypatch.syspath_prepend(tmp_path)
    package = importlib.import_module("maskrcnn_benchmark.demo")
    text = (package.__spec__.origin,)
    spec = importlib.util.spec_from_file_location(
        "demo", *text, submodule_search_locations=[str(tmp_path.parent / "installed")]
    )
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "demo", module)
    spec.loader.exec_module(module)
    assert module.__path__ == [str(own), str(tmp_path.parent / "installed")]
    assert importlib.import_module("demo.mine").NAME == "mine"
    monkeypatch.delitem(sys.modules, "demo.mine")


def test_resize_takes_the_image_alone():
    assert Resize(30, 40).get_size((90, 60)) == (27, 40)  # 45 would be longer than 40
    assert Resize(30, 100)(Image.new("RGB", (90, 60))).size == (45, 30)
