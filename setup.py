"""Install the package; its requirements are listed here alone.

OpenCV comes as four distributions that overwrite each other's files, so the one that is installed
is required. If there is none, opencv-python-headless is required, since the others need libGL,
which servers and containers lack.
"""

import os
import re
import subprocess
import sys

from setuptools import find_packages, setup

OPENCV_VARIANTS = (
    "opencv-python",
    "opencv-contrib-python",
    "opencv-python-headless",
    "opencv-contrib-python-headless",
)


def opencv_requirement(python: str = sys.executable) -> str:
    """Return the OpenCV distribution that `python` has installed, else opencv-python-headless."""
    # pip builds in an isolated environment, which it sets by PYTHONPATH. With `-I` the subprocess
    # ignores that and sees the environment that pip installs into.
    probe = (
        "import importlib.metadata as m\n"
        f"for name in {OPENCV_VARIANTS!r}:\n"
        "    try:\n"
        "        m.version(name)\n"
        "    except m.PackageNotFoundError:\n"
        "        continue\n"
        "    print(name)\n"
        "    break\n"
    )
    answer = subprocess.run([python, "-I", "-c", probe], capture_output=True, text=True)
    return answer.stdout.strip() or "opencv-python-headless"


def package_version() -> str:
    """Return the version in maskrcnn_benchmark/__init__.py, without importing the package."""
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "maskrcnn_benchmark", "__init__.py"), encoding="utf-8") as f:
        found = re.search(r'__version__ = "(.+)"', f.read())
    if found is None:
        raise ValueError("maskrcnn_benchmark/__init__.py states no __version__")
    return found.group(1)


def config_packages() -> list[str]:
    """Return a package name per folder of config files: maskrcnn_benchmark.configs, ….dota, …"""
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "configs")
    folders = [os.path.relpath(folder, root) for folder, _, files in os.walk(root) if files]
    names = ["" if name == "." else "." + name.replace(os.sep, ".") for name in sorted(folders)]
    return [f"maskrcnn_benchmark.configs{name}" for name in names]


if __name__ == "__main__":
    setup(
        name="maskrcnn_benchmark",
        version=package_version(),
        description="Detection of crowded objects in aerial images, drop-in for maskrcnn-benchmark",
        license="MIT",
        # `from demo.predictor import COCODemo` is how the original's demo was imported.
        # The config files lie at the top, and inside the package in a wheel.
        packages=[
            *find_packages(include=["maskrcnn_benchmark", "maskrcnn_benchmark.*"]),
            "demo",
            *config_packages(),
        ],
        package_dir={"demo": "maskrcnn_benchmark/demo", "maskrcnn_benchmark.configs": "configs"},
        package_data={name: ["*.yaml"] for name in config_packages()},
        python_requires=">=3.10",
        install_requires=[
            "torch>=2.4",  # fused SGD on the CPU
            "torchvision>=0.19",
            "numpy",
            "yacs",
            "pycocotools",
            "tqdm",
            "pillow",
            opencv_requirement(),
        ],
        entry_points={
            "console_scripts": [
                "maskrcnn-train = maskrcnn_benchmark.commands.train_net:run",
                "maskrcnn-test = maskrcnn_benchmark.commands.test_net:run",
                "maskrcnn-predict = maskrcnn_benchmark.commands.predict:run",
                "maskrcnn-dota = maskrcnn_benchmark.commands.dota:run",
                "maskrcnn-export = maskrcnn_benchmark.commands.export:run",
            ]
        },
        extras_require={
            "cityscapes": ["cityscapesscripts"],
            "geo": ["rasterio", "pyogrio"],
            "onnx": ["onnx", "onnxscript", "onnxruntime"],
            "tensorboard": ["tensorboard"],
            "test": [
                *("pytest", "pytest-xdist", "ruff", "mypy"),
                *("tensorboard", "cityscapesscripts", "shapely", "rasterio", "pyogrio"),
                *("onnx", "onnxscript", "onnxruntime"),
            ],
        },
    )
