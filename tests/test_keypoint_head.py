"""The keypoint head: targets, loss, points from heat maps, whole models, training, evaluation."""

import hashlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from launching import ROOT
from made_data import boxlist, make_coco_folder
from second_device import SecondDevice
from tiny_models import FPN_BODY, FPN_KEYPOINT, FPN_MASK, NARROW, made_batch, make_cfg

from maskrcnn_benchmark.commands import train_net
from maskrcnn_benchmark.engine.inference import run_test
from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.roi_heads.keypoint_head.inference import (
    Keypointer,
    KeypointPostProcessor,
    heatmaps_to_keypoints,
)
from maskrcnn_benchmark.modeling.roi_heads.keypoint_head.loss import (
    KeypointRCNNLossComputation,
    cat_boxlist_with_keypoints,
)
from maskrcnn_benchmark.structures import crowd
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints

SIZE = (100, 80)  # width, height
CHANNELS = ["MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.NUM_CLASSES", 4]


def tiny_keypoint_rcnn(*options):
    torch.manual_seed(0)
    return build_detection_model(make_cfg(*FPN_BODY, *FPN_KEYPOINT, *NARROW, *CHANNELS, *options))


def with_keypoints(targets, visible=2):
    """Add 17 points in every box, all of one visibility."""
    generator = torch.Generator().manual_seed(3)
    for target in targets:
        near, far = target.bbox[:, None].split(2, dim=-1)
        places = near + torch.rand(len(target), 17, 2, generator=generator) * (far - near)
        points = torch.cat([places, torch.full((len(target), 17, 1), float(visible))], dim=-1)
        target.add_field("keypoints", PersonKeypoints(points, target.size))
    return targets


def batch(counts=(5, 3), visible=2):
    images, targets = made_batch(counts)
    return images, with_keypoints(targets, visible)


def loss_of(resolution=4, thresholds=(0.5, 0.5), per_image=8):
    return KeypointRCNNLossComputation(
        Matcher(*thresholds), BalancedPositiveNegativeSampler(per_image, 0.5), resolution
    )


def people(points, boxes, size=SIZE):
    return boxlist(
        boxes,
        size,
        labels=torch.ones(len(boxes), dtype=torch.int64),
        keypoints=PersonKeypoints(torch.tensor(points, dtype=torch.float32), size),
    )


def test_names_and_shapes_are_the_originals():
    cfg = make_cfg()
    cfg.merge_from_file(str(ROOT / "configs/e2e_keypoint_rcnn_R_50_FPN_1x.yaml"))
    with torch.device("meta"):
        model = build_detection_model(cfg)
    lines = sorted(f"{key} {tuple(value.shape)}" for key, value in model.state_dict().items())
    assert len(lines) == 318
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == "b1eb7a0a2b0bb75e"


def bicubic(heat, width, height):
    """Enlarge by Keys' kernel with a = -0.75, cell centres at half numbers, border repeated."""

    def weight(distance):
        d = abs(distance)
        if d <= 1:
            return 1.25 * d**3 - 2.25 * d**2 + 1
        return -0.75 * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0

    def matrix(cells, pixels):
        rows = np.zeros((pixels, cells))
        for pixel in range(pixels):
            place = (pixel + 0.5) * cells / pixels - 0.5
            for cell in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
                rows[pixel, min(max(cell, 0), cells - 1)] += weight(place - cell)
        return rows

    return matrix(heat.shape[0], height) @ heat @ matrix(heat.shape[1], width).T


def test_points_are_the_peaks_of_the_enlarged_maps():
    generator = np.random.default_rng(0)
    rois = np.array([[10, 20, 17.4, 45], [3, 5, 63.2, 11.6], [50, 60, 50.3, 59]], dtype=np.float32)
    maps = generator.standard_normal((3, 5, 7, 7)).astype(np.float32)
    points, peaks = heatmaps_to_keypoints(maps, rois)
    assert points.shape == (3, 5, 3) and points.dtype == peaks.dtype == np.float32
    assert (points[..., 2] == 1).all()
    for index, (x1, y1, x2, y2) in enumerate(rois.astype(float)):
        width, height = max(x2 - x1, 1), max(y2 - y1, 1)
        columns, rows = int(np.ceil(width)), int(np.ceil(height))
        for k in range(5):
            large = bicubic(maps[index, k].astype(float), columns, rows)
            row, column = np.unravel_index(large.argmax(), large.shape)
            expected = [x1 + (column + 0.5) * width / columns, y1 + (row + 0.5) * height / rows]
            assert points[index, k, :2] == pytest.approx(expected, abs=1e-4)
            assert peaks[index, k] == pytest.approx(large.max(), abs=1e-3)


def test_fault_keypoints_of_several_images_at_once():
    """The original's post-processor takes one image at a time."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 17, 56, 56, generator=generator)
    boxes = [
        boxlist([[4, 5, 40, 60], [30, 10, 47.5, 33]], SIZE, scores=torch.tensor([0.9, 0.8])),
        boxlist([], (60, 70), scores=torch.zeros(0)),
        boxlist([[11, 12, 20, 50]], (40, 90), scores=torch.tensor([0.7])),
    ]
    together = KeypointPostProcessor(Keypointer())(logits, boxes)
    for found, given, part in zip(together, boxes, logits.split([2, 0, 1]), strict=True):
        (alone,) = KeypointPostProcessor()(part, [given])
        keypoints = found.get_field("keypoints")
        assert found.fields() == ["scores", "keypoints"] and given.fields() == ["scores"]
        assert keypoints.size == given.size and keypoints.keypoints.shape == (len(given), 17, 3)
        assert torch.equal(keypoints.keypoints, alone.get_field("keypoints").keypoints)
        assert keypoints.get_field("logits").shape == (len(given), 17)
    x, y = together[2].get_field("keypoints").keypoints[0, :, :2].unbind(dim=1)
    assert (x > 11).all() and (x < 20).all() and (y > 12).all() and (y < 50).all()


def test_points_on_a_device_cost_three_copies():
    logits = torch.randn(3, 17, 56, 56, generator=torch.Generator().manual_seed(0))
    boxes = boxlist([[4, 5, 40, 60], [30, 10, 47.5, 33], [11, 12, 20, 50]], SIZE)
    points, peaks = Keypointer()(logits, [boxes])
    with SecondDevice() as device:
        given = logits.to("fake"), [boxes.to("fake")]
        device.waits.clear()
        found = Keypointer()(*given)
        assert device.waits == {"copy": 3}  # the maps, the boxes, and back
        assert [values.device.type for values in found] == ["fake", "fake"]
        assert torch.equal(found[0].cpu(), points) and torch.equal(found[1].cpu(), peaks)
    assert points.is_contiguous() and peaks.is_contiguous()


def test_who_is_trained_on():
    target = people(
        [
            [[20, 20, 2], [0, 0, 0]],
            [[0, 0, 0], [0, 0, 0]],  # no point labelled
            [[9, 60, 2], [45, 30, 0]],  # labelled outside its box, and hidden inside
        ],
        [[10, 10, 29, 29], [40, 10, 59, 29], [10, 50, 29, 69]],
    )
    # each object; one far from all; half of the first: 10 x 20 of 20 x 20
    boxes = [*target.bbox.tolist(), [70, 50, 89, 69], [10, 10, 29, 19]]
    labels, keypoints = loss_of().prepare_targets([boxlist(boxes, SIZE)], [target])
    # background takes the first object's points, which count, and is told by its class
    assert labels[0].tolist() == [1, -1, -1, 0, 1]
    assert keypoints[0].keypoints[4].tolist() == [[20, 20, 2], [0, 0, 0]]


def test_fault_between_thresholds_is_no_object():
    """The original trains such proposals on the points of the image's first object."""
    target = people([[[12, 12, 2]], [[45, 15, 2]]], [[10, 10, 29, 29], [40, 10, 59, 29]])
    half_of_second = boxlist([[40, 10, 59, 19]], SIZE)
    labels, _ = loss_of(thresholds=(0.7, 0.3)).prepare_targets([half_of_second], [target])
    assert labels[0].tolist() == [-1]


def test_loss_by_hand():
    target = people([[[12, 21, 2], [28, 39, 1]]], [[10, 20, 30, 40]])
    # 20 x 20 pixels are 4 x 4 cells of 5: (12, 21) is cell 0, (28, 39) is the last; the second
    # proposal, from y = 22 on, has no room for the first point and cells 4.5 high
    proposals = [boxlist([[10, 20, 30, 40], [10, 22, 30, 40], [60, 60, 80, 75]], SIZE)]
    computation = loss_of()
    (sampled,) = computation.subsample(proposals, [target])
    assert sampled.get_field("proposal_idxs").tolist() == [0, 1]
    assert sampled.get_field("labels").tolist() == [1, 1] and proposals[0].fields() == []
    logits = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    log_share = F.log_softmax(logits.flatten(2), dim=-1)
    expected = -(log_share[0, 0, 0] + log_share[0, 1, 15] + log_share[1, 1, 15]) / 3
    torch.testing.assert_close(computation([sampled], logits), expected)


def test_settings_without_meaning_are_refused():
    target = people([[[12, 21, 2], [28, 39, 1]]], [[10, 20, 30, 40]])
    proposals = [target.copy_with_fields([])]
    computation = loss_of(resolution=14)
    sampled = computation.subsample(proposals, [target])
    with pytest.raises(
        ValueError, match="RESOLUTION is 14, but .* 56 cells per side: set it to 56"
    ):
        computation(sampled, torch.zeros(1, 2, 56, 56))
    with pytest.raises(ValueError, match="NUM_CLASSES is 17, but .* 2 keypoints"):
        computation(sampled, torch.zeros(1, 17, 14, 14))
    nameless = target.copy_with_fields("labels")
    nameless.image_name = "street.jpg"
    with pytest.raises(ValueError, match="needs ground truth with keypoints, got street.jpg"):
        computation.subsample(proposals, [nameless])


def test_joining_lists():
    lists = [people([[[1, 2, 2]]], [[0, 0, 9, 9]]), people([[[3, 4, 1]]], [[2, 2, 8, 8]])]
    joined = cat_boxlist_with_keypoints(lists)
    assert joined.get_field("keypoints").tolist() == [[[1, 2, 2]], [[3, 4, 1]]]
    assert joined.get_field("labels").tolist() == [1, 1] and len(joined) == 2


def test_training_with_masks_and_keypoints():
    model = tiny_keypoint_rcnn(*FPN_MASK, *NARROW, "MODEL.BACKBONE.FREEZE_CONV_BODY_AT", 0)
    losses = model(*batch())
    assert set(losses) == {
        *("loss_classifier", "loss_box_reg", "loss_mask", "loss_kp"),
        *("loss_objectness", "loss_rpn_box_reg"),
    }
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    "given", [dict(counts=(0, 0)), dict(visible=0)], ids=["no ground truth", "nothing visible"]
)
def test_images_without_keypoints_train(given):
    model = tiny_keypoint_rcnn("MODEL.BACKBONE.FREEZE_CONV_BODY_AT", 0)
    losses = model(*batch(**given))
    sum(losses.values()).backward()
    assert losses["loss_kp"].item() == 0 and losses["loss_classifier"].item() > 0
    # every process must have a gradient for every parameter, with any images
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_an_image_without_ground_truth_beside_others():
    images, targets = batch(counts=(0, 4))
    # every proposal counts, whatever the other image has
    counts = ["MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "MODEL.RPN.FPN_POST_NMS_TOP_N_TRAIN"]
    model = tiny_keypoint_rcnn(counts[0], 10**6, counts[1], 10**6)
    both, alone = model(images, targets), model(images[1:], targets[1:])
    # the loss is a mean over points, of which the image without ground truth has none
    assert both["loss_kp"].item() == pytest.approx(alone["loss_kp"].item(), rel=1e-5)


def test_crowds_are_matched_in_blocks_with_the_same_loss():
    images, targets = batch(counts=(130, 2))
    before = crowd.get_policy()
    try:
        losses = []
        for mode in ("stream", "off"):
            model = tiny_keypoint_rcnn("MODEL.CROWD.MODE", mode, "MODEL.CROWD.BLOCK_MB", 1)
            torch.manual_seed(7)
            losses.append(model(images, targets)["loss_kp"].item())
    finally:
        crowd.set_policy(before)
    assert losses[0] == losses[1] > 1


def test_batches_give_what_single_images_give():
    model = tiny_keypoint_rcnn("MODEL.ROI_HEADS.DETECTIONS_PER_IMG", 9).eval()
    images, _ = made_batch()
    with torch.no_grad():
        together, alone = model(images), [model([image])[0] for image in images]
    for a, b in zip(together, alone, strict=True):
        assert len(a) == len(b) > 0 and a.fields() == ["scores", "labels", "keypoints"]
        points = [r.get_field("keypoints").keypoints for r in (a, b)]
        assert points[0].shape == (len(a), 17, 3)
        torch.testing.assert_close(*points)


def test_images_without_detections():
    model = tiny_keypoint_rcnn("MODEL.ROI_HEADS.SCORE_THRESH", 1.0).eval()
    with torch.no_grad():
        found = model(made_batch()[0])
    assert [len(f) for f in found] == [0, 0]
    assert found[0].get_field("keypoints").keypoints.shape == (0, 17, 3)


C4_SHARED = [
    *(*NARROW, "MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 64, "MODEL.ROI_BOX_HEAD.NUM_CLASSES", 4),
    *("MODEL.KEYPOINT_ON", True, "MODEL.ROI_KEYPOINT_HEAD.RESOLUTION", 28),
    *("MODEL.ROI_KEYPOINT_HEAD.FEATURE_EXTRACTOR", "ResNet50Conv5ROIFeatureExtractor"),
]


def test_fault_shared_features_train():
    """The original passes the pooled features of all proposals through the extractor again."""
    torch.manual_seed(0)
    model = build_detection_model(make_cfg(*C4_SHARED))
    heads = model.roi_heads
    assert heads.keypoint.feature_extractor is heads.box.feature_extractor
    seen = []
    heads.box.feature_extractor.register_forward_hook(lambda *_: seen.append(1))
    images, targets = batch()
    torch.manual_seed(7)
    shared = model(images, targets)["loss_kp"].item()
    assert len(seen) == 1  # pooled once for both heads
    heads.sharing.clear()
    heads.keypoint.shares_features = False
    torch.manual_seed(7)
    assert model(images, targets)["loss_kp"].item() == pytest.approx(shared, rel=1e-5)
    assert len(seen) == 3 and shared > 1
    with torch.no_grad():
        found = model.eval()(images)
    assert found[0].get_field("keypoints").keypoints.shape == (len(found[0]), 17, 3)


def test_extractors_that_differ_cannot_be_shared():
    with pytest.raises(ValueError, match="ROI_KEYPOINT_HEAD.SHARE_BOX_FEATURE_EXTRACTOR .* False"):
        tiny_keypoint_rcnn("MODEL.ROI_KEYPOINT_HEAD.SHARE_BOX_FEATURE_EXTRACTOR", True)


def test_two_iterations_and_their_evaluation(tmp_path):
    boxes = {1: [[8, 9, 40, 50], [60, 20, 30, 36]], 2: [[20, 6, 50, 70]]}
    annotations = [
        {
            **dict(image_id=image_id, category_id=1, bbox=[x, y, width, height]),
            "keypoints": [v for k in range(17) for v in (x + k % width, y + 2 * k % height, 2)],
            "num_keypoints": 17,
        }
        for image_id, of_image in boxes.items()
        for x, y, width, height in of_image
    ]
    sizes = {1: (120, 90), 2: (80, 100)}
    file, folder = make_coco_folder(tmp_path / "coco", sizes, {1: "person"}, annotations)
    cfg = make_cfg(
        *(*FPN_BODY, *FPN_KEYPOINT, *NARROW, *CHANNELS, "MODEL.ROI_BOX_HEAD.NUM_CLASSES", 2),
        *(
            "DATASETS.TRAIN",
            (f"coco:{file}:{folder}",),
            "DATASETS.TEST",
            (f"coco:{file}:{folder}",),
        ),
        *("INPUT.MIN_SIZE_TRAIN", (96,), "INPUT.MIN_SIZE_TEST", 96, "DATALOADER.NUM_WORKERS", 0),
        *("SOLVER.MAX_ITER", 2, "SOLVER.IMS_PER_BATCH", 2, "TEST.IMS_PER_BATCH", 2),
        *("MODEL.ROI_HEADS.DETECTIONS_PER_IMG", 5, "OUTPUT_DIR", str(tmp_path)),
        *("MODEL.WEIGHT", "", "SOLVER.BASE_LR", 1e-4, "DATALOADER.SIZE_DIVISIBILITY", 32),
    )
    torch.manual_seed(0)
    before = build_detection_model(cfg).roi_heads.keypoint.predictor.kps_score_lowres.weight
    torch.manual_seed(0)
    model = train_net.train(cfg, False)
    after = model.roi_heads.keypoint.predictor.kps_score_lowres.weight
    assert not torch.equal(before, after) and (tmp_path / "model_final.pth").is_file()
    ((results, rows),) = run_test(cfg, model, False, output_dir="").values()
    assert 0 <= results.results["keypoints"]["AP"] <= 1 and len(rows["keypoints"]) > 0
    assert all(len(row["keypoints"]) == 51 for row in rows["keypoints"])
