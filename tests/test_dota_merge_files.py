"""Result files of tiles, merged to whole images by hand-made cases, and as a user does it."""

import time

import numpy as np
import pytest

from maskrcnn_benchmark.dota.average_precision import evaluate_folders
from maskrcnn_benchmark.dota.merge_files import merge_results
from maskrcnn_benchmark.dota.submission import ClassResults, read_task_file


def results(*rows, task=2):
    """Rows (tile, score, x, y): 20 wide and 10 high in the tile."""
    edges = [[x, y, x + 20, y + 10] for _, _, x, y in rows]
    corners = [[x1, y1, x2, y1, x2, y2, x1, y2] for x1, y1, x2, y2 in edges]
    coordinates = np.array(corners if task == 1 else edges, dtype=float).reshape(-1, 8 // task)
    return ClassResults([row[0] for row in rows], np.array([row[1] for row in rows]), coordinates)


@pytest.mark.parametrize("task", [1, 2])
@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param(  # 824 + 5 = 829, 2 pixels from the other: 18 / 22
            [("P1__1__0___0", 0.8, 827, 40), ("P1__1__824___0", 0.9, 5, 40)],
            [("P1", 0.9, 829, 40)],
            id="seam",
        ),
        pytest.param(
            [("P1__1__0___0", 0.8, 827, 40), ("P1__1__0___0", 0.9, 829, 40)],
            [("P1", 0.9, 829, 40), ("P1", 0.8, 827, 40)],
            id="one tile",
        ),
        pytest.param(  # steps of 6, 14 / 26; the ends share 8 / 32
            [
                ("P1__1__0___0", 0.9, 100, 9),
                ("P1__1__50___0", 0.8, 56, 9),
                ("P1__1__90___0", 0.7, 22, 9),
            ],
            [("P1", 0.9, 100, 9), ("P1", 0.7, 112, 9)],
            id="chain over three tiles",
        ),
        pytest.param(  # at rate 2 the tile's columns are half as wide
            [("P1__2__100___0", 0.9, 100, 40), ("P1__1__0___0", 0.8, 300, 40)],
            [("P1", 0.9, 100, 20), ("P1", 0.8, 300, 40)],
            id="rates",
        ),
        pytest.param(
            [("P2__1__0___0", 0.5, 7, 9), ("P1__1__0___0", 0.9, 7, 9), ("whole", 0.7, 7, 9)],
            [("P2", 0.5, 7, 9), ("P1", 0.9, 7, 9), ("whole", 0.7, 7, 9)],
            id="images",
        ),
        pytest.param([], [], id="nothing"),
    ],
)
def test_by_hand(rows, expected, task):
    merged = merge_results(results(*rows, task=task), task, 0.4)
    assert merged.coordinates.shape == (len(expected), 8 if task == 1 else 4)
    places = zip(merged.image_names, merged.scores, *merged.coordinates[:, :2].T, strict=True)
    assert list(places) == expected


def test_command(run_dota, tmp_path):
    tiles, out = tmp_path / "tiles", tmp_path / "new" / "images"
    tiles.mkdir()
    (tiles / "Task2_ship.txt").write_text(
        "P1__1__0___0 0.8 827 40 847.25 50\nP1__1__824___0 0.9 5 40 25 50\n"
    )
    (tiles / "Task2_plane.txt").write_text("")
    status, text, _ = run_dota("merge", tiles, out)
    assert status == 0
    assert text.splitlines() == [
        f"{out / 'Task2_plane.txt'}: 0 of 0",
        f"{out / 'Task2_ship.txt'}: 1 of 2",
    ]
    assert (out / "Task2_plane.txt").read_text() == ""
    assert (out / "Task2_ship.txt").read_text() == "P1 0.90000000 829.0 40.0 849.0 50.0\n"
    run_dota("merge", tiles, out, "--nms-hbb", 0.95)
    assert len(read_task_file(out / "Task2_ship.txt", 2)) == 2
    for arguments, message in (((tiles, tiles), "another folder"), ((tmp_path, out), "found none")):
        status, _, error = run_dota("merge", *arguments)
        assert status == 2 and message in error


def askew_rows(step: float) -> np.ndarray:
    """Return the corners (N, 4, 2) of lorries, 50 x 8 at 45 degrees, parked `step` apart."""
    along, across = np.array([50, 50]) / 2**0.5, np.array([-8, 8]) / 2**0.5
    lorry = np.array([[0, 0], along, along + across, across])
    shift = np.array([-step, step]) / 2**0.5
    rows = [lorry + shift * place + (60 + 80 * row, 20) for row in range(5) for place in range(8)]
    return np.stack([corners + 40 for corners in rows])


def test_lorries_parked_askew_at_a_seam_are_all_kept():
    """Upright boxes of neighbours share 34.7^2 of 2 * 41^2 - 34.7^2: 0.56, above DOTA.NMS_HBB."""
    corners = askew_rows(9)
    edges = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    names, scores, rows = [], [], []
    for x, score in ((0, 0.9), (60, 0.8)):  # both tiles see all of them
        names += [f"P1__1__{x}___0"] * len(edges)
        scores += [score - 0.001 * place for place in range(len(edges))]
        rows += [edges - [x, 0, x, 0]]
    found = ClassResults(names, np.array(scores), np.concatenate(rows))
    merged = merge_results(found, 2, 0.5)
    assert merged.coordinates.tolist() == edges.tolist()
    # if each were of a tile of its own, as before, half of them would be lost
    names = [f"P1__1__{place}___0" for place in range(80)]
    moved = found.coordinates - np.array([[place, 0] * 2 for place in range(80)])
    moved[40:] += [60, 0, 60, 0]
    assert len(merge_results(ClassResults(names, found.scores, moved), 2, 0.5)) < len(edges)


def test_real_tiles_beside_the_devkits_merging(run_dota, shared_data, tmp_path):
    folder = shared_data / "eval_task1"
    names = (folder / "images.txt").read_text().split()
    assert run_dota("merge", folder / "tile_dets", tmp_path, "--nms-obb", 0.3)[0] == 0
    ours, kits = (
        evaluate_folders(folder / "labelTxt", results, 1, 0.5, "area", names)["mAP"]
        for results in (tmp_path, folder / "merged_dets")
    )
    assert kits < ours < kits + 0.02  # 0.5798 and 0.5690


@pytest.mark.slow
def test_seconds_of_200000_lines(run_dota, tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "tiles").mkdir()
    with (tmp_path / "tiles" / "Task1_ship.txt").open("w") as stream:
        for number in range(200_000):
            x, y = random.uniform(0, 1000, 2)
            corners = np.array([x, y, x + 20, y + 3, x + 18, y + 12, x - 2, y + 9])
            name = f"P{number // 10000:04d}__1__{number % 7 * 824}___{number % 5 * 824}"
            stream.write(
                f"{name} {random.random():.4f} {' '.join(map('{:.1f}'.format, corners))}\n"
            )
    start = time.process_time()
    assert run_dota("merge", tmp_path / "tiles", tmp_path / "out")[0] == 0
    assert time.process_time() - start < 24  # a third is usual
