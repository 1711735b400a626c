"""What is installed, and that it asks for what it needs."""

import shutil
import subprocess
import sys
import zipfile

import pytest
from launching import ROOT, load_file
from setuptools import find_packages

import maskrcnn_benchmark


@pytest.fixture(scope="module")
def setup_module():
    return load_file("setup.py")


@pytest.mark.parametrize(
    ("installed", "asked_for"),
    [
        ((), "opencv-python-headless"),
        (("opencv-contrib-python",), "opencv-contrib-python"),
        (("opencv-python-headless", "opencv-python"), "opencv-python"),
    ],
    ids=["none", "contrib", "two"],
)
def test_the_opencv_that_is_there_is_enough(tmp_path, setup_module, installed, asked_for):
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (packages,) = (venv / "lib").glob("python*/site-packages")
    for name in installed:
        info = packages / f"{name.replace('-', '_')}-4.10.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 4.10.0\n")
    assert setup_module.opencv_requirement(str(venv / "bin" / "python")) == asked_for


def test_version_is_stated_once(setup_module):
    assert setup_module.package_version() == maskrcnn_benchmark.__version__


def test_every_folder_of_modules_is_a_package():
    packages = set(find_packages(str(ROOT), include=["maskrcnn_benchmark*"]))
    folders = {path.parent for path in (ROOT / "maskrcnn_benchmark").rglob("*.py")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert names == packages and "maskrcnn_benchmark.engine" in packages


@pytest.mark.slow
def test_wheel_holds_the_package_and_nothing_else(tmp_path):
    source = tmp_path / "source"  # a copy: building leaves folders behind
    for folder in ("maskrcnn_benchmark", "configs"):
        shutil.copytree(ROOT / folder, source / folder)
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (n for n in names if n.endswith("METADATA"))
        text = archive.read(metadata).decode()
    assert {"maskrcnn_benchmark/config/paths_catalog.py", "demo/predictor.py"} <= set(names)
    configs = {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
    assert {f"maskrcnn_benchmark/{name}" for name in configs} <= set(names) and len(configs) > 66
    assert not [n for n in names if n.startswith(("tests", "tools", "configs"))]
    assert "Requires-Dist: torch" in text and "Requires-Dist: opencv" in text
