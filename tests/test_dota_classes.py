"""DOTA's class lists."""

import pytest

from maskrcnn_benchmark.dota.classes import class_names, version_of


def test_versions_extend_each_other():
    assert [len(class_names(version)) for version in ("1.0", "1.5", "2.0")] == [15, 16, 18]
    assert class_names("2.0")[:15] == class_names("1.0")
    assert class_names("2.0")[15:] == ("container-crane", "airport", "helipad")
    assert class_names("1.0").index("ship") == 6
    assert class_names("1.0")[-1] == "helicopter"


def test_unknown_version_is_refused():
    with pytest.raises(ValueError, match="1.0, 1.5, 2.0, got '3.0'"):
        class_names("3.0")


def test_version_of_a_list_of_classes():
    for version in ("1.0", "1.5", "2.0"):
        assert version_of(list(class_names(version))) == version
    assert version_of(class_names("1.0")[:-1]) is None
    assert version_of(["ship"]) is None
