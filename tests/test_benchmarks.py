"""Time beside another checkout: what is run, and the error where it does not run."""

import pytest

from maskrcnn_benchmark.benchmarks import oriented, side_by_side

PASTING = [case for case in side_by_side.CASES if case[1] == "paste"]


def test_a_folder_without_the_package_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no folder maskrcnn_benchmark"):
        next(side_by_side.compare(tmp_path, repeats=1))


@pytest.mark.slow
def test_a_checkout_that_does_not_run_is_named_with_the_patch_that_mends_it(
    tmp_path, monkeypatch, capfd
):
    package = tmp_path / "maskrcnn_benchmark"
    package.mkdir()
    (package / "__init__.py").write_text("import a_module_that_is_gone\n")
    monkeypatch.setattr(side_by_side, "CASES", PASTING)
    with pytest.raises(ValueError, match=r"does not run.*apply_patches.py .* --only 6"):
        list(side_by_side.compare(tmp_path, repeats=1))
    assert "a_module_that_is_gone" in capfd.readouterr().err


@pytest.mark.slow
def test_a_checkout_beside_itself_gives_the_same_result(monkeypatch):
    monkeypatch.setattr(side_by_side, "CASES", PASTING)
    title, _, line = side_by_side.compare(side_by_side.ROOT, repeats=3)
    name, theirs, ours, ratio, _, same = line.rsplit(maxsplit=5)
    assert "3 steps" in title and name.startswith("pasting 100 masks") and same == "yes"
    # the columns are rounded; twice the same code is not ten times as fast as itself
    assert float(ratio) == pytest.approx(float(ours) / float(theirs), rel=0.1)
    assert 0.1 < float(ratio) < 10


def test_oriented_parts_beside_upright_ones(monkeypatch):
    small = {"SIDE": 128, "CHANNELS": 4, "ROIS": 6, "PROPOSALS": 9, "TRUTHS": 7, "DETECTIONS": 8}
    for name, value in small.items():
        monkeypatch.setattr(oriented, name, value)
    monkeypatch.setattr(oriented, "_steps", lambda training: (lambda: None, lambda: None))
    called = []
    monkeypatch.setattr(
        oriented, "_medians", lambda cases, _: [(called.append(case()), 3.0)[1] for case in cases]
    )
    title, _, *rows = oriented.oriented_table(repeats=1)
    assert "1 calls of each in turn" in title and len(rows) == 6
    assert all(row.split()[-3:] == ["3.000", "3.000", "1.00"] for row in rows)
    assert len(called) == 12
    assert rows[2].startswith("target assignment, 9 proposals, 7 objects")
