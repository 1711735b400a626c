"""Assignment of ground truth to anchors; the original's faults with bad ground truth."""

import logging

import pytest
import torch

from maskrcnn_benchmark.modeling import matcher as matcher_module
from maskrcnn_benchmark.modeling.matcher import Matcher, gather_matched
from maskrcnn_benchmark.structures import crowd
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_iou
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

SIZE = (130, 90)
NAN = float("nan")
BAD_BOXES = {
    "zero area": [30, 20, 30, 20],
    "inverted": [60, 50, 40, 30],
    "NaN": [NAN, 20, 40, 30],
    "infinite": [10, 20, float("inf"), 30],
    "off the image": [200, 200, 220, 230],
    "left of the image": [-30, 10, -5, 30],
}


@pytest.fixture(autouse=True)
def _policy_restored():
    before = crowd.get_policy()
    matcher_module._warned.clear()
    yield
    crowd.set_policy(before)


def slow_match(quality, high, low, allow):
    """Match by the definition, pair by pair on a nested list."""
    rows, columns = len(quality), len(quality[0])
    matches = []
    for c in range(columns):
        values = [quality[r][c] if quality[r][c] == quality[r][c] else -1 for r in range(rows)]
        best = max(range(rows), key=lambda r: values[r])  # max: the first among equals
        match = best if values[best] >= high else -2 if values[best] >= low else -1
        for r in range(rows):
            row = [v for v in quality[r] if v == v]
            if allow and row and quality[r][c] == max(row) and max(row) > 0:
                match = best
        matches.append(match)
    return matches


MATRIX = [
    [0.9, 0.5, 0.0, 0.1, 0.30, 0.0],
    [0.9, 0.2, 0.0, 0.7, 0.29, 0.1],
    [0.1, 0.2, 0.0, 0.2, 0.10, 0.2],
    [0.0, 0.0, 0.0, 0.0, 0.00, 0.0],
]


@pytest.mark.parametrize(
    ("allow", "expected"),
    [
        # columns: tie of rows 0 and 1 -> 0; between; nothing; high enough; just between; below
        (False, [0, -2, -1, 1, -2, -1]),
        # row 0's best is column 0; row 1's too; row 2's best 0.2 is in columns 1, 3 and 5, which
        # take their own best row; row 3 overlaps nothing
        (True, [0, 0, -1, 1, -2, 2]),
    ],
)
@pytest.mark.parametrize("mode", crowd.MODES)
@pytest.mark.parametrize("block_mb", [1e-5, 64])
def test_matrix_by_hand(allow, expected, mode, block_mb):
    crowd.set_policy(crowd.CrowdPolicy(2, 2, mode, block_mb))
    matches = Matcher(0.7, 0.3, allow)(torch.tensor(MATRIX))
    assert matches.tolist() == expected == slow_match(MATRIX, 0.7, 0.3, allow)
    assert matches.dtype == torch.int64


@pytest.mark.parametrize("mode", crowd.MODES)
def test_matrix_against_a_slow_loop(mode):
    crowd.set_policy(crowd.CrowdPolicy(2, 5, mode, 1e-4))
    generator = torch.Generator().manual_seed(0)
    for trial in range(30):
        quality = torch.rand(trial % 7 + 3, 25, generator=generator)
        quality = (quality * 8).floor() / 8  # ties
        quality[torch.rand(quality.shape, generator=generator) < 0.1] = NAN
        expected = slow_match(quality.tolist(), 0.75, 0.5, True)
        assert Matcher(0.75, 0.5, True)(quality).tolist() == expected


def test_low_quality_matches_called_directly():
    quality = torch.tensor(MATRIX)
    matches, best = torch.full((6,), -1), quality.max(dim=0).indices
    given = quality.clone()
    assert Matcher(0.7, 0.3, True).set_low_quality_matches_(matches, best, quality) is None
    assert matches.tolist() == [0, 0, -1, 1, -1, 2]
    assert torch.equal(quality, given)


def test_fault_zero_or_nan_row_makes_every_anchor_positive():
    quality = torch.tensor([[0.1, 0.0, 0.2], [0.0, 0.0, 0.0], [NAN, NAN, NAN]])
    assert Matcher(0.7, 0.3, True)(quality).tolist() == [-1, -1, 0]


def test_fault_nan_wins_an_anchor():
    quality = torch.tensor([[0.1, 0.8], [NAN, NAN]])
    assert Matcher(0.7, 0.3)(quality).tolist() == [-1, 0]
    assert Matcher(0.7, 0.0)(torch.full((2, 2), NAN)).tolist() == [-1, -1]


def test_fault_image_without_ground_truth_raises():
    matches = Matcher(0.7, 0.3, True)(torch.zeros(0, 4))
    assert matches.tolist() == [-1] * 4 and matches.dtype == torch.int64
    assert Matcher(0.7, 0.3, True)(torch.zeros(3, 0)).shape == (0,)
    empty = BoxList(torch.zeros(0, 4), SIZE)
    for mode in crowd.MODES:
        crowd.set_policy(crowd.CrowdPolicy(mode=mode))
        matched = Matcher(0.7, 0.3, True).match(empty, BoxList([[1, 2, 9, 8]] * 4, SIZE))
        assert matched.tolist() == [-1] * 4
        assert Matcher(0.7, 0.3, True).match(BoxList([[1, 2, 9, 8]], SIZE), empty).shape == (0,)


def test_thresholds_in_the_wrong_order():
    with pytest.raises(ValueError, match="got 0.7 and 0.3"):
        Matcher(0.3, 0.7)


def crowd_scene() -> tuple[BoxList, BoxList]:
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(240, 2, generator=generator) * torch.tensor([100.0, 60])
    sides = 4 + torch.rand(240, 2, generator=generator) * 26
    boxes = torch.cat([corner, corner + sides], dim=1)
    return BoxList(boxes[:20], SIZE), BoxList(boxes[20:], SIZE)


@pytest.mark.parametrize("mode", crowd.MODES)
@pytest.mark.parametrize("kind", BAD_BOXES)
def test_fault_bad_ground_truth_makes_every_anchor_positive(kind, mode, caplog):
    """Bad boxes change no anchor's match, keep their numbers and are named."""
    good, anchors = crowd_scene()
    matcher = Matcher(0.6, 0.3, True)
    expected = matcher(boxlist_iou(good, anchors))
    assert (expected >= 0).sum() > 15 and (expected == -1).sum() > 50

    bad = torch.tensor([BAD_BOXES[kind]], dtype=torch.float32)
    target = BoxList(torch.cat([bad, good.bbox[:7], bad, good.bbox[7:]]), SIZE)
    target.image_name = "tiles/P0706__1__824___0.png"
    place = torch.tensor([*range(1, 8), *range(9, 22)])  # of the good ones in the target
    crowd.set_policy(crowd.CrowdPolicy(5, 5, mode, 0.01))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            matches = matcher.match(target, anchors)
    assert torch.equal(matches, torch.where(expected >= 0, place[expected], expected))
    assert len(caplog.records) == 1
    assert "P0706__1__824___0.png: 2 of 22 ground-truth boxes" in caplog.text


@pytest.mark.parametrize("mode", crowd.MODES)
@pytest.mark.parametrize("high", [0.0, 0.4])
def test_bad_ground_truth_gets_nothing_from_a_threshold_of_zero(mode, high):
    """What overlaps nothing counts as well, and goes to the first box that can match."""
    good, anchors = crowd_scene()
    anchors.bbox[:30] += 1000  # off all ground truth
    expected = Matcher(high, 0.0)(boxlist_iou(good, anchors))
    assert set(expected[:30].tolist()) == ({0} if high == 0 else {-2})
    target = BoxList(torch.cat([torch.tensor([[9.0, 9, 5, 5]] * 2), good.bbox]), SIZE)
    crowd.set_policy(crowd.CrowdPolicy(5, 5, mode, 0.01))
    matches = Matcher(high, 0.0).match(target, anchors)
    assert torch.equal(matches, torch.where(expected >= 0, expected + 2, expected))
    assert set(Matcher(high, 0.0).match(target[:2], anchors).tolist()) == {-1}


@pytest.mark.parametrize("mode", crowd.MODES)
def test_only_bad_ground_truth(mode, caplog):
    crowd.set_policy(crowd.CrowdPolicy(5, 5, mode))
    target = BoxList(list(BAD_BOXES.values()), SIZE)
    assert set(Matcher(0.6, 0.3, True).match(target, crowd_scene()[1]).tolist()) == {-1}
    assert "an image without a name: 6 of 6" in caplog.text


def test_fault_one_image_without_a_name_silenced_all_others(caplog):
    targets = [BoxList(list(BAD_BOXES.values())[:count], SIZE) for count in (2, 3)]
    for target in (*targets, *targets):  # a list that was seen is not told of again
        Matcher(0.6, 0.3).match(target, crowd_scene()[1])
    told = [record.getMessage() for record in caplog.records]
    assert ["2 of 2" in told[0], "3 of 3" in told[1]] == [True, True] and len(told) == 2


@pytest.mark.parametrize("mode", crowd.MODES)
@pytest.mark.parametrize("box_mode", ["xyxy", "xywh"])
def test_match_equals_matrix(mode, box_mode, caplog):
    target, anchors = crowd_scene()
    for matcher in (Matcher(0.6, 0.3, True), Matcher(0.5, 0.5)):
        expected = matcher(boxlist_iou(target, anchors))
        crowd.set_policy(crowd.CrowdPolicy(5, 5, mode, 0.01))
        matches = matcher.match(target.convert(box_mode), anchors.convert(box_mode))
        assert torch.equal(matches, expected)
        assert not caplog.records


def test_gather_matched():
    target = BoxList([[1, 2, 9, 8], [20, 30, 40, 50]], SIZE)
    target.image_name = "P1.png"
    target.add_field("labels", torch.tensor([4, 5]))
    target.add_field("other", torch.tensor([6, 7]))
    matched = gather_matched(target, torch.tensor([1, -1, 0, -2, 1]), ["labels"])
    assert matched.bbox[:, 0].tolist() == [20, 1, 1, 1, 20]
    assert matched.get_field("labels").tolist() == [5, 4, 4, 4, 5]
    assert matched.get_field("matched_idxs").tolist() == [1, -1, 0, -2, 1]
    assert set(matched.fields()) == {"labels", "matched_idxs"}
    assert matched.image_name == "P1.png"


@pytest.mark.parametrize("mask_mode", ["poly", "mask"])
def test_gather_matched_without_ground_truth(mask_mode):
    target = BoxList(torch.zeros(0, 4), SIZE)
    target.add_field("labels", torch.zeros(0, dtype=torch.int64))
    target.add_field("corners", torch.zeros(0, 4, 2))
    target.add_field("masks", SegmentationMask([], SIZE, mask_mode))
    target.add_field("keypoints", PersonKeypoints(torch.zeros(0, 17, 3), SIZE))
    names = target.fields()
    matched = gather_matched(target, torch.full((3,), -1), names)
    assert matched.bbox.tolist() == [[0, 0, 0, 0]] * 3
    assert matched.get_field("labels").tolist() == [0, 0, 0]
    assert matched.get_field("labels").dtype == torch.int64
    assert matched.get_field("corners").shape == (3, 4, 2)
    assert matched.get_field("masks").get_mask_tensor().shape == (3, 90, 130)
    assert matched.get_field("masks").get_mask_tensor().sum() == 0
    assert matched.get_field("keypoints").keypoints.tolist() == [[[0, 0, 0]] * 17] * 3
    none = matched[torch.zeros(3, dtype=torch.bool)]
    assert len(none.get_field("masks")) == 0


def test_bad_ground_truth_does_not_change_which_of_equals_counts():
    """Two objects that overlap an anchor alike: the last one takes it, whatever follows them."""
    matcher = Matcher(0.9, 0.3, True, least_low_quality=0.1, low_quality_takes_own=True)
    anchors = BoxList([[10.0, 10, 29, 29]], (60, 50))
    objects = [[10.0, 10, 29, 19], [10, 20, 29, 29]]
    assert matcher.match(BoxList(objects, (60, 50)), anchors).tolist() == [1]
    assert matcher.match(BoxList([*objects, [9.0, 9, 3, 3]], (60, 50)), anchors).tolist() == [1]
    assert matcher.match(BoxList([[9.0, 9, 3, 3], *objects], (60, 50)), anchors).tolist() == [2]
