"""Key points under resizing, flips and cropping, and their heat maps."""

import pytest
import torch

from maskrcnn_benchmark.structures.keypoint import (
    FLIP_LEFT_RIGHT,
    FLIP_TOP_BOTTOM,
    Keypoints,
    PersonKeypoints,
    keypoints_to_heat_map,
)

SIZE = (60, 40)  # width, height


def person(**points) -> PersonKeypoints:
    data = torch.zeros(1, 17, 3)
    for name, point in points.items():
        data[0, PersonKeypoints.NAMES.index(name)] = torch.tensor(point)
    return PersonKeypoints(data, SIZE)


def visible(keypoints: Keypoints) -> dict:
    return {
        name: tuple(point.tolist())
        for name, point in zip(PersonKeypoints.NAMES, keypoints.keypoints[0], strict=True)
        if point[2] > 0
    }


def test_names():
    assert len(PersonKeypoints.NAMES) == 17
    assert PersonKeypoints.NAMES[:3] == ["nose", "left_eye", "right_eye"]
    assert PersonKeypoints.NAMES[-1] == "right_ankle"
    assert PersonKeypoints.FLIP_INDS.tolist()[:5] == [0, 2, 1, 4, 3]
    assert [1, 0] in PersonKeypoints.CONNECTIONS and len(PersonKeypoints.CONNECTIONS) == 15


def test_flat_lists_are_viewed_as_points():
    assert Keypoints([[1, 2, 1, 4, 5, 2], [0, 0, 0, 7, 8, 1]], SIZE).keypoints.shape == (2, 2, 3)


def test_resize():
    resized = person(nose=(6.0, 10, 2)).resize((90, 20))  # x 1.5, x 0.5
    assert visible(resized) == {"nose": (9, 5, 2)}
    assert resized.size == (90, 20) and isinstance(resized, PersonKeypoints)


@pytest.mark.parametrize(
    ("method", "nose", "hand"),
    [
        (FLIP_LEFT_RIGHT, (53, 10, 2), (39, 0, 1)),  # 60 - 6 - 1, 60 - 20 - 1
        (FLIP_TOP_BOTTOM, (6, 29, 2), (20, 39, 1)),  # 40 - 10 - 1, 40 - 0 - 1
    ],
    ids=["left right", "top bottom"],
)
def test_flips_exchange_sides(method, nose, hand):
    given = person(nose=(6.0, 10, 2), left_wrist=(20.0, 0, 1))
    flipped = given.transpose(method)
    assert visible(flipped) == {"nose": nose, "right_wrist": hand}
    assert flipped.keypoints[flipped.keypoints[..., 2] == 0].eq(0).all()  # not 59 or 39
    assert visible(flipped.transpose(method)) == visible(given)


def test_points_without_names_keep_their_order():
    flipped = Keypoints([[[6, 10, 2], [20, 0, 1]]], SIZE).transpose(FLIP_LEFT_RIGHT)
    assert flipped.keypoints.tolist() == [[[53, 10, 2], [39, 0, 1]]]


def test_crop_hides_what_falls_outside():
    given = person(nose=(6.0, 10, 2), left_eye=(4.0, 10, 2), right_eye=(6.0, 31, 2))
    cropped = given.crop((5, 4, 35, 30))
    assert visible(cropped) == {"nose": (1, 6, 2)}
    assert cropped.size == (30, 26)
    assert cropped.keypoints[0, 1].tolist() == [0, 0, 0]
    assert len(visible(given)) == 3


def test_fields_and_indexing():
    keypoints = Keypoints([[[1, 2, 2]], [[3, 4, 2]]], SIZE)
    keypoints.add_field("logits", torch.tensor([[0.5], [0.25]]))
    chosen = keypoints[torch.tensor([False, True])]
    assert chosen.keypoints.tolist() == [[[3, 4, 2]]]
    assert chosen.get_field("logits").tolist() == [[0.25]]
    assert keypoints.resize((30, 20)).get_field("logits").shape == (2, 1)
    double = keypoints.to(torch.float64)
    assert double.get_field("logits").dtype == torch.float64 and len(double) == 2
    assert keypoints.get_field("logits").dtype == torch.float32


def test_unknown_flip():
    with pytest.raises(NotImplementedError, match="got 5"):
        person().transpose(5)


def test_heat_map_by_hand():
    # a box of 10 x 20 from (10, 20), cells 0.4 x 0.8 of a pixel -> 4 cells: 2.5 and 5 pixels each
    rois = torch.tensor([[10.0, 20, 20, 40]])
    points = torch.tensor(
        [
            [
                [10.0, 20, 2],  # first cell
                [17, 31, 1],  # 7 / 2.5 = 2.8, 11 / 5 = 2.2 -> 2 * 4 + 2
                [20, 40, 2],  # the far corner counts to the last cell
                [17, 31, 0],  # not visible
                [9.9, 31, 2],  # outside
                [17, 40.5, 2],
            ]
        ]
    )
    cells, valid = keypoints_to_heat_map(points, rois, 4)
    assert cells.tolist() == [[0, 10, 15, 0, 0, 0]]
    assert valid.tolist() == [[1, 1, 1, 0, 0, 0]]
    assert cells.dtype == valid.dtype == torch.int64


def test_heat_map_of_nothing():
    cells, valid = keypoints_to_heat_map(torch.zeros(0, 17, 3), torch.zeros(0, 4), 56)
    assert len(cells) == len(valid) == 0 and cells.dtype == torch.int64


def test_no_object_at_all_moves_like_others():
    for empty in (PersonKeypoints([], SIZE), PersonKeypoints(torch.zeros(0, 17, 3), SIZE)):
        moved = empty.resize((30, 20)).transpose(FLIP_TOP_BOTTOM).crop((1, 2, 9, 9))
        assert len(moved) == 0 and moved.keypoints.dim() == 3 and moved.size == (8, 7)
    assert PersonKeypoints(torch.zeros(0, 17, 3), SIZE).blank(2).keypoints.shape == (2, 17, 3)
