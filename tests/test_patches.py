"""The patches without the original at hand: their form, their places, their new code."""

import ast
import re
import textwrap

import patch_series
import pytest
import torch
from yacs.config import CfgNode

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints

SERIES = patch_series.series()
EACH = pytest.mark.parametrize("patch", SERIES, ids=[path.name[:4] for path in SERIES])
NAN, INF = float("nan"), float("inf")


# form


def test_the_series_is_complete():
    assert [path.name[:5] for path in SERIES] == [f"{n:04d}-" for n in range(1, len(SERIES) + 1)]
    assert len(SERIES) == 6


@EACH
def test_header_says_why_what_changes_and_on_which_commit(patch):
    head = patch.read_text().split("\n---\n")[0]
    lines = head.split("\n")
    assert re.fullmatch(r"From [0-9a-f]{40} Mon Sep 17 00:00:00 2001", lines[0])
    assert re.fullmatch(r"From: .+ <.+@.+>", lines[1])
    assert re.fullmatch(r"Date: \w{3}, \d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", lines[2])
    number = int(patch.name[:4])
    assert re.fullmatch(rf"Subject: \[PATCH( {number}/6)?\] \S.+", lines[3])
    assert re.search("what changes for the user:|for the user:", head, re.IGNORECASE)
    assert patch_series.ORIGINAL_COMMIT in head


@EACH
def test_hunks_say_their_length_and_carry_little_of_the_original(patch):
    files = patch_series.parse(patch)
    assert files
    for file in files:
        for hunk in file.hunks:
            old, new = hunk.side(" -"), hunk.side(" +")
            assert (len(old), len(new)) == (hunk.old_count, hunk.new_count), file.path
            kinds = "".join(line[0] for line in hunk.lines)
            # one line of context on either side; two between changes, which git then joins
            assert "   " not in kinds, f"{file.path}:{hunk.old_start}"
            assert not kinds.startswith("  ") and not kinds.endswith("  ")


def added_pieces(hunk):
    """Return the runs of added lines, without those that describe an argument in a docstring."""
    pieces, piece = [], []
    for line in [*hunk.lines, " "]:
        if line[0] == "+" and not re.match(r"\+ +\w+: [a-z\"]", line):
            piece.append(line[1:])
        elif piece:
            pieces.append(piece)
            piece = []
    return [textwrap.dedent("\n".join(piece)) for piece in pieces]


@EACH
def test_new_code_compiles(patch):
    compiled = 0
    for file in patch_series.parse(patch):
        for hunk in file.hunks if file.path.endswith(".py") else []:
            for code in ["\n".join(hunk.side("+"))] if file.is_new else added_pieces(hunk):
                if code.split("#")[0].rstrip().endswith(":"):
                    code += "\n    pass"
                if not file.is_new:
                    code = f"def f():\n while True:\n  pass\n{textwrap.indent(code, '  ')}"
                ast.parse(code, filename=f"{file.path}:{hunk.old_start}", feature_version=(3, 6))
                compiled += 1
    assert compiled >= 2


# places


@pytest.fixture
def skeleton(tmp_path):
    """Make a checkout of the lines that the patches name; return its folder and content."""
    folder = tmp_path / "checkout"
    patch_series.write_skeleton(folder, SERIES)
    patch_series.commit_all(folder)
    return folder, patch_series.contents(folder)


@EACH
def test_each_patch_applies_alone_and_can_be_undone(skeleton, patch):
    folder, before = skeleton
    patch_series.git(folder, "apply", "--whitespace=error-all", str(patch))
    after = patch_series.contents(folder)
    for file in patch_series.parse(patch):
        for hunk in file.hunks:
            assert "\n".join(hunk.side(" +")) in after[file.path].decode()
    patch_series.git(folder, "apply", "--reverse", str(patch))
    assert patch_series.contents(folder) == before != after


def test_the_whole_series_applies_by_git_apply_and_by_git_am(skeleton):
    folder, before = skeleton
    paths = [str(path) for path in SERIES]
    patch_series.git(folder, "apply", *paths)
    applied = patch_series.contents(folder)
    patch_series.git(folder, "apply", "--reverse", *reversed(paths))
    assert patch_series.contents(folder) == before
    patch_series.git(folder, "am", "-q", *paths)
    assert patch_series.contents(folder) == applied != before
    subjects = patch_series.git(folder, "log", "--format=%s", f"-{len(SERIES)}").splitlines()
    assert all(
        f"{subject}\n" in path.read_text().replace("\n ", " ")
        for subject, path in zip(reversed(subjects), SERIES, strict=True)
    )


@EACH
def test_each_patch_can_be_undone_alone_when_all_are_there(skeleton, patch):
    folder, before = skeleton
    patch_series.git(folder, "apply", *[str(path) for path in SERIES])
    patch_series.git(folder, "apply", "--reverse", str(patch))
    patch_series.git(folder, "apply", "--reverse", *[str(p) for p in SERIES[::-1] if p != patch])
    assert patch_series.contents(folder) == before


# 1: boxlist_iou of crowds


def plain_iou(a, b):
    """Return the overlap of every pair, number by number in float32."""
    result = torch.empty(len(a), len(b))
    for i, (ax1, ay1, ax2, ay2) in enumerate(a.bbox):
        for j, (bx1, by1, bx2, by2) in enumerate(b.bbox):
            width = (torch.min(ax2, bx2) - torch.max(ax1, bx1) + 1).clamp(min=0)
            height = (torch.min(ay2, by2) - torch.max(ay1, by1) + 1).clamp(min=0)
            area_a = (ax2 - ax1 + 1) * (ay2 - ay1 + 1)
            area_b = (bx2 - bx1 + 1) * (by2 - by1 + 1)
            result[i, j] = width * height / (area_a + area_b - width * height)
    return result


def some_boxes(count, seed):
    draw = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=draw) * torch.tensor([300.0, 180.0]) - 10
    side = torch.rand(count, 2, generator=draw) * 60
    boxes = torch.cat([corner, corner + side], dim=1)
    boxes[::3] = boxes[::3].round()  # equal overlaps
    return BoxList(boxes, (320, 200))


@pytest.fixture
def crowd_iou():
    return patch_series.run_new_file(1, "structures/crowd_iou.py")


@pytest.mark.parametrize("mode", ["stream", "cpu"])
@pytest.mark.parametrize("pairs", [1, 7, 41, 10**6], ids="{}-pairs-a-block".format)
def test_crowd_iou_equals_the_plain_sum_to_the_last_bit(crowd_iou, mode, pairs):
    a, b = some_boxes(23, seed=1), some_boxes(17, seed=2)
    a.bbox[3] = torch.tensor([50.0, 40.0, 20.0, 60.0])  # inverted
    a.bbox[4] = torch.tensor([NAN, 40.0, 20.0, 60.0])
    a.bbox[5] = torch.tensor([10.0, 40.0, INF, 60.0])
    crowd_iou.MODE, crowd_iou.BLOCK_MB = mode, pairs * 20 / 2**20
    expected, got = plain_iou(a, b), crowd_iou.crowd_iou(a, b)
    assert got.dtype == torch.float32 and got.shape == (23, 17)
    assert (expected > 0).sum() > 15
    assert torch.equal(got.view(torch.int32), expected.view(torch.int32)) or (
        torch.equal(got.isnan(), expected.isnan())
        and torch.equal(got.nan_to_num(nan=-1), expected.nan_to_num(nan=-1))
    )


def test_crowd_iou_begins_above_its_threshold_and_never_where_gradients_are_wanted(crowd_iou):
    b = some_boxes(5, seed=3)
    assert not crowd_iou.is_crowd(some_boxes(100, seed=4), b)
    crowd = some_boxes(101, seed=4)
    assert crowd_iou.is_crowd(crowd, b)
    b.bbox.requires_grad_()
    assert not crowd_iou.is_crowd(crowd, b)
    with torch.no_grad():
        assert crowd_iou.is_crowd(crowd, b)
        crowd_iou.MODE = "off"
        assert not crowd_iou.is_crowd(crowd, b)


# 2: low-quality matches of crowds


@pytest.fixture
def crowd_match():
    return patch_series.run_new_file(2, "modeling/crowd_match.py")


@pytest.mark.parametrize("mode", ["stream", "cpu"])
@pytest.mark.parametrize("pairs", [1, 30, 10**6], ids="{}-pairs-a-block".format)
def test_best_predictions_are_those_of_the_plain_search(crowd_match, mode, pairs):
    quality = torch.randint(0, 9, (23, 17), generator=torch.Generator().manual_seed(5)) / 8
    quality[4], quality[7] = 0, NAN
    best = quality.max(dim=1).values
    expected = sorted({j for i in range(23) for j in range(17) if quality[i, j] == best[i]})
    assert len(expected) == 17  # row 4 has every prediction as its best: not this patch's concern
    quality[4, 0] = 0.5
    best = quality.max(dim=1).values
    expected = sorted({j for i in range(23) for j in range(17) if quality[i, j] == best[i]})
    crowd_match.MODE, crowd_match.ROWS = mode, 3
    crowd_match.BLOCK_MB = pairs * 5 / 2**20
    got = crowd_match.best_predictions(quality, best, quality.device)
    assert got.dtype == torch.int64 and got.tolist() == expected


def test_crowd_match_begins_above_its_rows_or_its_size(crowd_match):
    assert not crowd_match.is_crowd(torch.zeros(1000, 3))
    assert crowd_match.is_crowd(torch.zeros(1001, 3))
    crowd_match.BLOCK_MB = 3000 / 2**20
    assert not crowd_match.is_crowd(torch.zeros(1000, 3))
    assert crowd_match.is_crowd(torch.zeros(1000, 4))
    crowd_match.MODE = "off"
    assert not crowd_match.is_crowd(torch.zeros(1001, 4))


def test_best_predictions_come_back_on_the_device_asked_for(crowd_match):
    """The device "meta" stands for a GPU; the indices are on the device that is asked for."""
    quality = torch.tensor([[0.1, 0.4], [0.3, 0.2]])
    got = crowd_match.best_predictions(quality, torch.tensor([0.4, 0.3]), torch.device("meta"))
    assert got.device.type == "meta" and got.shape == (2,)


# 3: config keys


def crowd_cfg(**changes):
    keys = {"IOU_ROWS": 7, "MATCH_ROWS": 8, "MODE": "cpu", "BLOCK_MB": 9, **changes}
    return CfgNode({"MODEL": {"CROWD": keys}})


@pytest.fixture
def use_crowd_settings(monkeypatch):
    """Return the patch's function from a package "fork" that has patch 1 and not patch 2."""
    part = patch_series.run_new_file(1, "structures/crowd_iou.py")
    for name in ("fork", "fork.structures"):
        monkeypatch.setitem(__import__("sys").modules, name, type(part)(name))
    monkeypatch.setitem(__import__("sys").modules, "fork.structures.crowd_iou", part)
    settings = patch_series.run_new_file(3, "config/crowd.py", __name__="fork.config.crowd")
    return settings.use_crowd_settings, part


def test_config_keys_reach_the_crowd_path_that_is_there(use_crowd_settings):
    use, crowd_iou = use_crowd_settings
    assert (crowd_iou.ROWS, crowd_iou.MODE, crowd_iou.BLOCK_MB) == (100, "stream", 64)
    use(crowd_cfg())
    assert (crowd_iou.ROWS, crowd_iou.MODE, crowd_iou.BLOCK_MB) == (7, "cpu", 9)


def test_config_names_the_known_modes(use_crowd_settings):
    use, crowd_iou = use_crowd_settings
    with pytest.raises(ValueError, match="one of stream, cpu, off, got 'gpu'"):
        use(crowd_cfg(MODE="gpu"))
    with pytest.raises(ValueError, match="BLOCK_MB must be above 0, got 0"):
        use(crowd_cfg(BLOCK_MB=0))
    assert crowd_iou.ROWS == 100


def test_config_defaults_are_those_of_the_crowd_paths(crowd_iou, crowd_match):
    added = "\n".join(
        line
        for file in patch_series.parse(patch_series.patch_file(3))
        if file.path.endswith("defaults.py")
        for line in file.hunks[0].side("+")
    )
    root = CfgNode({"MODEL": {}})
    exec(added, {"_C": root, "CN": CfgNode})
    crowd = root.MODEL.CROWD
    assert (crowd.IOU_ROWS, crowd.MATCH_ROWS) == (crowd_iou.ROWS, crowd_match.ROWS) == (100, 1000)
    assert crowd.MODE == crowd_iou.MODE == crowd_match.MODE == "stream"
    assert crowd.BLOCK_MB == crowd_iou.BLOCK_MB == crowd_match.BLOCK_MB == 64


# 5: unusable ground truth


class PlainMatcher:
    """A Matcher with what match_overlapping_rows needs; low-quality matches row by row."""

    BELOW_LOW_THRESHOLD, BETWEEN_THRESHOLDS = -1, -2
    high_threshold, low_threshold = 0.7, 0.3

    def __init__(self, allow_low_quality_matches):
        self.allow_low_quality_matches = allow_low_quality_matches

    def set_low_quality_matches_(self, matches, all_matches, quality):
        for row in quality:
            matches[row == row.max()] = all_matches[row == row.max()]


@pytest.fixture
def match_overlapping_rows():
    path = "modeling/overlapping_rows.py"
    return patch_series.run_new_file(5, path).match_overlapping_rows


QUALITY = torch.tensor(
    [
        [0.0, 0.0, 0.0, 0.0, 0.0],  # overlaps nothing
        [0.8, 0.2, 0.0, 0.4, 0.0],
        [NAN, NAN, NAN, NAN, NAN],
        [-0.0, 0.0, NAN, 0.0, -0.0],  # inverted, as large as a prediction
        [0.8, 0.0, 0.1, 0.1, 0.0],  # best: prediction 0, where row 1 is as good and comes first
        [0.0, 0.0, 0.2, 0.0, 0.0],  # best: prediction 2
    ]
)


@pytest.mark.parametrize(
    ("low", "expected"), [(True, [1, -1, 5, -2, -1]), (False, [1, -1, -1, -2, -1])]
)
def test_rows_that_overlap_nothing_match_nothing(match_overlapping_rows, low, expected):
    before = QUALITY.clone()
    assert match_overlapping_rows(PlainMatcher(low), QUALITY).tolist() == expected
    assert torch.equal(QUALITY.nan_to_num(nan=-9), before.nan_to_num(nan=-9))


def test_sound_rows_are_left_to_the_matcher(match_overlapping_rows):
    assert match_overlapping_rows(PlainMatcher(True), QUALITY[[1, 4, 5]]) is None
    with_nan_prediction = QUALITY[[1, 4, 5]].clone()
    with_nan_prediction[:, 3] = NAN  # a prediction's fault, not the ground truth's
    assert match_overlapping_rows(PlainMatcher(True), with_nan_prediction) is None


@pytest.mark.parametrize("rows", [0, 2], ids=["no-ground-truth", "none-of-use"])
def test_without_usable_rows_all_is_background(match_overlapping_rows, rows):
    for columns in (3, 0):
        got = match_overlapping_rows(PlainMatcher(True), torch.zeros(rows, columns))
        assert got.dtype == torch.int64 and got.tolist() == [-1] * columns


@pytest.fixture
def usable():
    return patch_series.run_new_file(5, "structures/usable_targets.py")


def a_target(boxes):
    target = BoxList(torch.tensor(boxes).reshape(-1, 4), (320, 200))
    target.add_field("labels", torch.arange(len(target)) + 1)
    target.add_field("keypoints", PersonKeypoints(torch.ones(len(target), 17, 3), (320, 200)))
    return target


def test_unusable_boxes_are_left_out_with_a_warning(usable):
    sound = [[10.0, 20.0, 11.0, 21.0], [-5.0, -5.0, 0.0, 0.0], [319.0, 199.0, 400.0, 300.0]]
    flat, inverted = [10.0, 20.0, 10.0, 30.0], [30.0, 20.0, 10.0, 40.0]
    off = [[-9.0, 20.0, -1.0, 30.0], [320.0, 20.0, 340.0, 30.0], [5.0, 200.0, 9.0, 209.0]]
    odd = [flat, inverted, *off, [NAN, 20.0, 30.0, 40.0], [10.0, 20.0, INF, 40.0]]
    target = a_target([odd[0], sound[0], *odd[1:], *sound[1:]])
    with pytest.warns(UserWarning, match="ground truth without area, not finite or off its image"):
        (got,) = usable.usable_targets([target])
    assert got.bbox.tolist() == sound
    assert got.get_field("labels").tolist() == [2, 9, 10]


def test_sound_targets_are_returned_as_they_are(usable, recwarn):
    target = a_target([[10.0, 20.0, 30.0, 40.0]])
    (got, other) = usable.usable_targets([target, "no target"])
    assert got is target and other == "no target" and not recwarn.list


@pytest.mark.filterwarnings("ignore:ground truth without area")
@pytest.mark.parametrize("boxes", [[], [[10.0, 20.0, 10.0, 40.0]]], ids=["empty", "none-of-use"])
def test_an_image_without_ground_truth_gives_blanks_for_every_proposal(usable, boxes):
    (target,) = usable.usable_targets([a_target(boxes)])
    assert len(target) == 0
    matched = target.copy_with_fields(["labels", "keypoints"])[torch.zeros(6, dtype=torch.int64)]
    assert matched.bbox.tolist() == [[0.0] * 4] * 6
    assert matched.get_field("labels").tolist() == [0] * 6
    assert matched.get_field("keypoints").keypoints.shape == (6, 17, 3)
    assert len(target[torch.zeros(0, dtype=torch.int64)]) == 0
