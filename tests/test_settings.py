"""Settings from files and the command line: read, found by name, refused with advice."""

import pytest

from maskrcnn_benchmark.config import cfg as default_cfg
from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.config.ranges import RANGES
from maskrcnn_benchmark.config.settings import (
    _flatten,
    configs_folder,
    find_config_file,
    given_keys,
)


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("SOLVER:\n  MAX_ITER: 7\n  BASE_LR: 0.5\n")
    return str(path)


def test_file_over_defaults_and_options_over_both(config_file):
    cfg = load_config(config_file, ["SOLVER.MAX_ITER", "9", "DOTA.CLASSES", "('boat', 'car')"])
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR) == (9, 0.5)
    assert cfg.DOTA.CLASSES == ("boat", "car")
    assert default_cfg.SOLVER.MAX_ITER == 40000  # the defaults are not touched


def test_a_list_and_a_string_in_a_file_become_a_tuple(tmp_path):
    path = tmp_path / "old.yaml"
    path.write_text("SOLVER:\n  STEPS: [3, 4]\nDATASETS:\n  TRAIN: ('a', 'b')\n")
    cfg = load_config(str(path), [])
    assert cfg.SOLVER.STEPS == (3, 4) and cfg.DATASETS.TRAIN == ("a", "b")


def test_an_empty_file_leaves_the_defaults(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    assert load_config(str(path), []) == default_cfg


@pytest.mark.parametrize(
    ("opts", "told"),
    [
        (["SOLVER.MAX_ITERS", "9"], r"no setting SOLVER\.MAX_ITERS; did you mean SOLVER\.MAX_ITER"),
        (["MAX_ITER", "9"], r"did you mean SOLVER\.MAX_ITER\?"),
        (
            ["IMS_PER_BATCH", "9"],
            r"did you mean SOLVER\.IMS_PER_BATCH or TEST\.IMS_PER_BATCH\?",
        ),
        (["solver.base_lr", "0.1"], r"did you mean SOLVER\.BASE_LR\?"),
        (["XYZ", "0.1"], r"there is no setting XYZ$"),
        (["SOLVER.MAX_ITER"], "pairs KEY value"),
        (["OUTPUT_DIR", "o", "SOLVER.BASE_LR=0.1"], "write SOLVER.BASE_LR 0.1, without ="),
        (["SOLVER.MAX_ITER", "many"], r"SOLVER\.MAX_ITER takes a value such as 40000, got 'many'"),
        (["DATASETS.TRAIN", "('x')"], r"DATASETS\.TRAIN takes a tuple, got 'x': write \('x',\)"),
        (["INPUT.MIN_SIZE_TRAIN", "640"], r"takes a tuple, got 640: write \(640,\)"),
        (["INPUT.PIXEL_MEAN", "104.0"], r"takes a list, got 104.0: write \[104.0\]"),
        (["SOLVER.BASE_LR", "1"], r"such as 0.001, got 1: write 1\.0"),
        (["MODEL.MASK_ON", "true"], "got 'true': write True"),
        (["OUTPUT_DIR", "2024"], "got 2024: write \"'2024'\""),
    ],
)
def test_bad_options_are_told_with_what_to_write(config_file, opts, told):
    with pytest.raises(ValueError, match=told):
        load_config(config_file, opts)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("SOLVER:\n  MAX_ITR: 1\n", r"settings.yaml: .*SOLVER\.MAX_ITR; did you mean SOLVER\.MAX"),
        ("SOLVER: [1\n", "settings.yaml: no YAML"),
        ("- SOLVER\n", r"expected sections of settings, got \['SOLVER'\]"),
        ("SOLVER: 3\n", "settings.yaml: SOLVER is a section of settings, got 3"),
        ("DTYPE: 3\n", r"settings.yaml: DTYPE takes a value such as 'float32', got 3"),
        ("DATASETS:\n  TRAIN: ('x')\n", r"settings.yaml: .*write \('x',\)"),
    ],
    ids=["unknown key", "no YAML", "a list", "a section's value", "wrong type", "no tuple"],
)
def test_bad_files_are_told(config_file, text, told):
    with open(config_file, "w") as file:
        file.write(text)
    with pytest.raises(ValueError, match=told):
        load_config(config_file, [])


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("SOLVER.CHECKPOINT_PERIOD", "0", "a whole number of at least 1, got 0"),
        ("SOLVER.MAX_ITER", "-1", "a whole number of at least 0, got -1"),
        ("SOLVER.BASE_LR", "-0.1", "a number of at least 0, got -0.1"),
        ("SOLVER.EMA", "1.0", "a number from 0 to below 1, got 1.0"),
        ("SOLVER.WARMUP_METHOD", "cosine", "one of linear, constant, got 'cosine'"),
        ("MODEL.RPN.NMS_THRESH", "1.5", "a number from 0 to 1, got 1.5"),
        ("MODEL.ROI_HEADS.SCORE_THRESH", "1e999", "a number from 0 to 1, got inf"),
        ("INPUT.PIXEL_STD", "[1.0, 0.0, 1.0]", "3 entries, each a number above 0"),
        ("INPUT.PIXEL_MEAN", "[1.0, 1.0]", "3 entries, each a finite number"),
        ("INPUT.MIN_SIZE_TRAIN", "()", "at least 1, each a whole number"),
        ("INPUT.MIN_SIZE_TRAIN", "('large',)", "at least 1, got .'large'"),
        ("SOLVER.STEPS", "(3.5,)", "any number of entries, each a whole number of at least 0, got"),
        ("MODEL.RESNETS.STAGE_WITH_DCN", "(True,)", "4 entries, each one of False, True"),
        ("MODEL.RESNETS.STEM_FUNC", "Stem", "one of StemWithFixedBatchNorm, StemWithGN"),
        ("MODEL.GROUP_NORM.NUM_GROUPS", "0", "-1 or a whole number of at least 1, got 0"),
        ("DATASETS.TEST", "(3,)", "entries, each text, got"),
        ("DOTA.VERSION", "3.0", "one of 1.0, 1.5, 2.0, got 3.0"),
        ("DOTA.CLASSES", "('car', 'car')", "different names, got"),
        ("DOTA.CLASSES", "('car', '')", "different names, got"),
        ("TEST.EXPECTED_RESULTS", "[['box', 'AP', 38.0]]", r"each \[task, metric, \[mean, std\]\]"),
        ("DTYPE", "half", "one of float32, tf32, float16, bfloat16, got 'half'"),
    ],
)
def test_fault_settings_out_of_their_range_went_into_the_work(config_file, key, value, told):
    with pytest.raises(ValueError, match=f"command line: {key} must be .*{told}"):
        load_config(config_file, [key, value])


@pytest.mark.parametrize("value", [".nan", "-.inf", ".inf"])
def test_fault_a_threshold_that_is_not_a_number_was_taken(config_file, value):
    with open(config_file, "w") as file:
        file.write(f"MODEL:\n  ROI_HEADS:\n    NMS: {value}\n")
    with pytest.raises(ValueError, match="yaml: MODEL.ROI_HEADS.NMS must be a number from 0 to 1"):
        load_config(config_file, [])


def test_every_setting_has_a_range_or_is_a_flag():
    defaults = dict(_flatten(default_cfg))
    assert set(RANGES) == {key for key, value in defaults.items() if type(value) is not bool}
    wrong = [key for key, check in RANGES.items() if not check.fits(defaults[key])]
    assert not wrong


def test_every_file_of_the_package_is_in_range():
    files = sorted(configs_folder().rglob("*.yaml"))
    assert len(files) > 66
    for path in files:
        load_config(str(path), [])


@pytest.mark.parametrize(
    "text",
    [
        "SOLVER:\n  MAX_ITER: !!int x\n",
        "SOLVER:\n  MAX_ITER: !!bool maybe\n",
        "SOLVER:\n  MAX_ITER: 2020-13-45\n",
        "SOLVER: &again\n  MAX_ITER: *again\n",
        "SOLVER: " + "[" * 3000,
        "\0",
        "SOLVER:\n  MAX_ITER:\n",
        "SOLVER:\n  MAX_ITER: '{[]: 1}'\n",
        "SOLVER:\n  MAX_ITER: '" + "(" * 3000 + "'\n",
    ],
    ids=["int", "bool", "date", "cycle", "deep", "nul", "null", "key", "deep value"],
)
def test_fault_odd_yaml_was_a_traceback_or_a_value(config_file, text):
    with open(config_file, "w") as file:
        file.write(text)
    with pytest.raises(ValueError, match="settings.yaml: "):
        load_config(config_file, [])


def test_fault_a_config_file_in_python_was_run(tmp_path):
    """Our `cfg` did, as yacs does; load_config parsed it as YAML."""
    path, mark = tmp_path / "settings.py", tmp_path / "mark"
    path.write_text(f"open({str(mark)!r}, 'w')\ncfg = dict(OUTPUT_DIR='here')\n")
    for read in (default_cfg.clone().merge_from_file, lambda file: load_config(file, [])):
        with pytest.raises(ValueError, match="settings.py: .*Python files are not run"):
            read(str(path))
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["dota/faster_rcnn_R_50_FPN_1x.yaml", "configs/dota/faster_rcnn_R_50_FPN_1x.yaml"]
)
def test_a_file_of_the_package_is_found_from_any_directory(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert find_config_file(name) == configs_folder() / "dota/faster_rcnn_R_50_FPN_1x.yaml"
    assert load_config(name, []).SOLVER.MAX_ITER == 19200


def test_a_file_that_is_there_goes_before_the_packages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart.yaml").write_text("SOLVER:\n  MAX_ITER: 3\n")
    assert load_config("quickstart.yaml", []).SOLVER.MAX_ITER == 3
    assert load_config("configs/quickstart.yaml", []).SOLVER.MAX_ITER == 930


def test_missing_files_are_told():
    with pytest.raises(FileNotFoundError, match="nowhere.yaml: no such config file, here or in"):
        load_config("nowhere.yaml", [])
    with pytest.raises(FileNotFoundError, match="did you mean dota/mask_rcnn_R_50_FPN_1x.yaml"):
        load_config("configs/dota/mask_rcnn_R50_FPN_1x.yaml", [])
    with pytest.raises(ValueError, match="--config-file"):
        load_config("", [])


def test_which_keys_a_run_sets(config_file):
    opts = ["MODEL.ROI_BOX_HEAD.NUM_CLASSES", "81"]
    expected = {"SOLVER.MAX_ITER", "SOLVER.BASE_LR", "MODEL.ROI_BOX_HEAD.NUM_CLASSES"}
    assert given_keys(config_file, opts) == expected


def test_fault_a_number_beyond_floats_was_an_overflow():
    with pytest.raises(ValueError, match="SOLVER.MAX_ITER must be a whole number"):
        load_config("configs/quickstart.yaml", ["SOLVER.MAX_ITER", "9" * 400])
