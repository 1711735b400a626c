"""The heads of masks and keypoints in chunks: the same results in bounded memory."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_models import FPN_BODY, FPN_KEYPOINT, FPN_MASK, make_cfg

from maskrcnn_benchmark.modeling.roi_heads.chunks import boxes_per_chunk, split_boxes
from maskrcnn_benchmark.modeling.roi_heads.keypoint_head.keypoint_head import (
    build_roi_keypoint_head,
)
from maskrcnn_benchmark.modeling.roi_heads.mask_head.mask_head import build_roi_mask_head
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.utils.process_memory import forget_peak, memory_mb, peak_memory_mb

SIZE = (160, 128)  # width, height
C4_MASK = [
    *("MODEL.MASK_ON", True, "MODEL.ROI_MASK_HEAD.SHARE_BOX_FEATURE_EXTRACTOR", False),
    *("MODEL.ROI_MASK_HEAD.PREDICTOR", "MaskRCNNC4Predictor"),
]
KINDS = {
    "mask": (build_roi_mask_head, [*FPN_BODY, *FPN_MASK]),
    "mask C4": (build_roi_mask_head, C4_MASK),
    "keypoint": (build_roi_keypoint_head, [*FPN_BODY, *FPN_KEYPOINT]),
}


def head_and_features(kind, channels, *options):
    """Return a head in evaluation mode, and feature maps of three images (C4: of one level)."""
    build, settings = KINDS[kind]
    torch.manual_seed(0)
    head = build(make_cfg(*settings, *options), channels).eval()
    strides = (16,) if kind == "mask C4" else (4, 8, 16, 32, 64)
    width, height = SIZE
    return head, [torch.randn(3, channels, height // s, width // s) for s in strides]


def detections(counts):
    generator = torch.Generator().manual_seed(1)
    lists = []
    for count in counts:
        corner = torch.rand(count, 2, generator=generator) * torch.tensor([90.0, 70])
        sides = torch.rand(count, 2, generator=generator) * 40 + 6
        boxes = BoxList(torch.cat([corner, corner + sides], dim=1), SIZE)
        boxes.add_field("labels", torch.randint(1, 81, (count,), generator=generator))
        lists.append(boxes)
    return lists


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (3, [[2, 0, 0], [3, 0, 0], [0, 0, 3]]),  # ends at 8 / 3 = 2.7, 5.3 and 8
        (7, [[4, 0, 0], [1, 0, 3]]),
        (1, [[1, 0, 0]] * 5 + [[0, 0, 1]] * 3),
    ],
    ids=["3", "7", "1"],
)
def test_boxes_are_split_evenly_in_their_order(most, expected):
    boxes = detections((5, 0, 3))
    chunks = list(split_boxes(boxes, most))
    assert [[len(of_image) for of_image in chunk] for chunk in chunks] == expected
    for given, *parts in zip(boxes, *chunks, strict=True):
        assert torch.equal(torch.cat([part.bbox for part in parts]), given.bbox)
        labels = [part.get_field("labels") for part in parts]
        assert torch.equal(torch.cat(labels), given.get_field("labels"))


def test_boxes_of_one_chunk_stay_as_they_are():
    for boxes in (detections((5, 0, 3)), detections((0, 0)), []):
        (chunk,) = split_boxes(boxes, 8)
        assert chunk is boxes


def test_how_many_boxes_fit_by_hand():
    # 256 channels on 14 x 14 are 50,176, on 28 x 28 200,704: 4 * (3 * 50,176 + 4 * 200,704) bytes
    # are 3.81 MB, which 300 MB hold 78.7 times
    assert boxes_per_chunk(50_176, 200_704) == 78
    head, _ = head_and_features("mask", 256)
    assert head.boxes_per_chunk == 78
    assert boxes_per_chunk(10**9, 10**9) == 1


def results(head, features, boxes):
    """Return the masks of all detections, or their keypoints with the peaks' heights."""
    with torch.no_grad():
        _, found, _ = head(features, boxes)
    if found[0].has_field("mask"):
        return [boxes.get_field("mask").float() for boxes in found]
    points = [boxes.get_field("keypoints") for boxes in found]
    return [
        torch.cat([p.keypoints, p.get_field("logits")[..., None]], dim=-1).float() for p in points
    ]


NARROW = [
    *("MODEL.ROI_MASK_HEAD.CONV_LAYERS", (8, 8), "MODEL.ROI_KEYPOINT_HEAD.CONV_LAYERS", (8, 8)),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 8, "MODEL.RESNETS.WIDTH_PER_GROUP", 8),
]


@pytest.mark.parametrize("kind", [*KINDS, "pasted"])
def test_chunks_give_what_all_detections_give_at_once(kind):
    options = ["MODEL.ROI_MASK_HEAD.POSTPROCESS_MASKS", True] if kind == "pasted" else []
    kind = "mask" if kind == "pasted" else kind
    # the fourth stage of the C4 body has 4 * RES2_OUT_CHANNELS = 32 channels
    head, features = head_and_features(kind, 32, *NARROW, *options)
    boxes, calls = detections((50, 0, 13)), []
    expected = results(head, features, boxes)
    head.predictor.register_forward_hook(lambda _, given, __: calls.append(len(given[0])))
    head.boxes_per_chunk = 20
    chunked = results(head, features, boxes)
    assert calls == [15, 16, 16, 16]  # ends at 63 / 4 = 15.75, 31.5, 47.25 and 63
    for got, whole, given in zip(chunked, expected, boxes, strict=True):
        assert len(got) == len(whole) == len(given)
        # convolutions of other batch sizes may take kernels that round otherwise
        torch.testing.assert_close(got, whole, atol=1e-5, rtol=1e-5)
    assert expected[0].std() > 0.01


def _peak_mb(kind, channels, count):
    """Return the memory that a head takes for detections, beyond what was held before."""
    command = [sys.executable, __file__, kind, str(channels), str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


needs_linux = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the kernel's peak of memory: Linux only"
)


@needs_linux
@pytest.mark.slow
def test_fault_the_mask_head_held_all_detections():
    # 4 * (3 * 64 * 14 * 14 + 4 * 81 * 28 * 28) bytes are 1.1 MB each
    assert _peak_mb("mask", 64, 2000) < 300


@needs_linux
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "channels"), [("mask", 256), ("mask C4", 1024), ("keypoint", 256)]
)
def test_memory_of_the_real_heads_is_bounded(kind, channels):
    assert _peak_mb(kind, channels, 300) < 300


def _main(kind, channels, count):
    torch.set_num_threads(1)
    widths = ["MODEL.ROI_MASK_HEAD.CONV_LAYERS", (min(int(channels), 256),)]
    widths += ["MODEL.ROI_KEYPOINT_HEAD.CONV_LAYERS", (512,)]
    head, features = head_and_features(kind, int(channels), *widths)
    results(head, features, detections((3, 0, 0)))  # loads what is loaded at the first use
    forget_peak()
    before = memory_mb()
    results(head, features, detections((int(count), 0, 0)))
    print(peak_memory_mb() - before)


if __name__ == "__main__":
    _main(*sys.argv[1:])
