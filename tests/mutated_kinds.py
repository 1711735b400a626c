"""The kinds of files that mutations.py damages, each with its reader and a stricter one to compare.

What a wrong value is depends on what a file says of itself. Files with checksums (.pth, PNG) give
what was written, or nothing. Texts give what a plain parser reads that is kept here; it knows no
leniency. Of the rest (JPEG, TIFF, BMP, .pkl, the .pth of PyTorch before 1.6) any number can be
meant, but no more than the file has bytes for, in the size that its header says, and never from a
file that is cut short.
"""

import ast
import io
import json
import math
import pickle
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import torch
import yaml
from mutations import NASTY_WORDS, Kind, mutate_bytes, mutate_text
from PIL import Image
from torch import nn

from maskrcnn_benchmark.config import cfg as default_cfg
from maskrcnn_benchmark.config.settings import load_config
from maskrcnn_benchmark.data.datasets.coco_file import read_coco_file
from maskrcnn_benchmark.dota.annotations import read_labels
from maskrcnn_benchmark.dota.plan import JOURNAL, PLAN, read_finished, read_plan
from maskrcnn_benchmark.dota.submission import read_task_folder
from maskrcnn_benchmark.images.image_io import read_image, read_image_size
from maskrcnn_benchmark.utils.c2_model_loading import load_c2_format
from maskrcnn_benchmark.utils.checkpoint import Checkpointer
from maskrcnn_benchmark.utils.training_log import read_metrics

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
SPLIT = {"tile": 64, "overlap": 16, "rule": "as it was"}
SOURCES = {
    name: {
        "width": 100,
        "height": 70,
        "bytes": 2100 + place,
        "times": [17_000_000_000 + place, 17_000_000_001],
        "sha256": f"{place:064x}",
        "tiles": [f"{name}__1__{x}___0" for x in (0, 36)],
        "labels": {"classes": {"ship": 3}, "difficult": 1, "cut_away": 0, "empty": 0, "outside": 0},
    }
    for place, name in enumerate(("P0001", "P0002", "P0003"))
}
COCO = {
    "images": [{"id": n, "file_name": f"{n}.png", "width": 90, "height": 60} for n in (3, 5)],
    "categories": [{"id": 1, "name": "ship"}, {"id": 4, "name": "plane"}],
    "annotations": [
        {
            "id": number,
            "image_id": image,
            "category_id": category,
            "bbox": [3.0, 4.5, 20, 10],
            "area": 200.0,
            "iscrowd": 0,
            "segmentation": [[3, 4.5, 23, 4.5, 23, 14.5]],
        }
        for number, (image, category) in enumerate([(3, 1), (3, 4), (5, 1)])
    ],
}
YAML = b"""MODEL:
  META_ARCHITECTURE: "GeneralizedRCNN"
  RPN:
    ANCHOR_SIZES: (16, 32, 64)
    NMS_THRESH: 0.6
  ROI_BOX_HEAD:
    NUM_CLASSES: 16
DATASETS:
  TRAIN: ("dota:train",)
INPUT:
  MIN_SIZE_TRAIN: (800,)
  TO_BGR255: True
SOLVER:
  BASE_LR: 0.01
  STEPS: [60, 80]
  MAX_ITER: 90
OUTPUT_DIR: run
"""
RESULTS = b"P0001 0.98765432 1.0 2.25 30.5 44.0\nmy%20scene 0.5 7 8.125 19 20\nP0003 1e-3 0 1 2 3\n"
LABELS = (
    b"imagesource:GoogleEarth\ngsd:0.146\n10 5 30.5 5 30.5 20 10 20 ship 0\n\n"
    b"1.25 2 3e1 2 30 40 1.25 40 large-vehicle 1\n-5 3 9 3 9 8 -5 8 plane\n"
)


def plainly(parse: Callable[[bytes], Any]) -> Callable[[bytes, Any, Any], str]:
    """Compare with a plain parser, which raises ValueError at what is malformed."""

    def wrong(content: bytes, value: Any, _: Any) -> str:
        try:
            expected = parse(content)
        except ValueError as error:
            return f"malformed ({error}), but read as {value!r:.300}"
        return "" if value == expected else f"expected {expected!r:.300}, got {value!r:.300}"

    return wrong


def differs(_content: bytes, value: Any, _original: Any) -> str:
    return f"a checksum was passed over: {value!r:.200}"


def parse_number(text: str) -> float:
    if not NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError(f"no number: {text!r:.40}")
    return float(text)


def labels() -> Kind:
    def read(path: Path) -> list:
        return [(item.corners.ravel().tolist(), item.name, item.difficult)
                for item in read_labels(path)]  # fmt: skip

    def parse(content: bytes) -> list:
        objects = []
        for line in content.decode("utf-8-sig", errors="replace").splitlines():
            fields = line.split()
            if not fields or line.strip().lower().startswith(("imagesource:", "gsd:")):
                continue
            corners = [parse_number(field) for field in fields[:8]]
            name, difficult = (fields[8:] + ["0"])[:2]
            if len(fields) > 10 or difficult not in ("0", "1", "2"):
                raise ValueError(f"no label: {line!r:.80}")
            if max(map(abs, corners)) > 1_000_000:
                raise ValueError(f"far off: {line!r:.80}")
            objects.append((corners, name, int(difficult)))
        return objects

    return Kind(1500, "P0001.txt", LABELS, mutate_text, read, plainly(parse))


def results() -> Kind:
    def read(path: Path) -> dict:
        found = read_task_folder(path.parent, 2)
        return {
            name: (each.image_names, each.scores.tolist(), each.coordinates.tolist())
            for name, each in found.items()
        }

    def parse(content: bytes) -> dict:
        names, scores, coordinates = [], [], []
        for line in content.decode("utf-8-sig", errors="replace").splitlines():
            if not line.strip():
                continue
            name, score, *edges = line.split()
            if len(edges) != 4:
                raise ValueError(f"no result: {line!r:.80}")
            names.append(unquote(name))
            scores.append(parse_number(score))
            coordinates.append([parse_number(edge) for edge in edges])
        return {"ship": (names, scores, coordinates)}

    return Kind(1500, "Task2_ship.txt", RESULTS, mutate_text, read, plainly(parse))


def flatten(tree: dict, prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        nested = isinstance(value, dict)
        flat |= flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return flat


def literal(value: Any) -> Any:
    """Return a setting as yacs takes it: text that is a Python literal is that; tuples as lists."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            pass
    return plain(value)


def plain(value: Any) -> Any:
    return [plain(item) for item in value] if isinstance(value, (tuple, list)) else repr(value)


DEFAULTS = {key: plain(value) for key, value in flatten(default_cfg).items()}


def settings_file() -> Kind:
    def read(path: Path) -> dict:
        return {key: plain(value) for key, value in flatten(load_config(str(path), [])).items()}

    def parse(content: bytes) -> dict:
        given = flatten(yaml.safe_load(content) or {})
        return DEFAULTS | {key: literal(value) for key, value in given.items()}

    return Kind(1000, "settings.yaml", YAML, mutate_text, read, plainly(parse))


def settings() -> Kind:
    """Settings of the command line, a line each in a file; the errors name "command line"."""

    def read(path: Path) -> dict:
        empty = path.with_name("empty.yaml")
        empty.touch()
        pairs = path.read_bytes().decode(errors="replace").split("\n")
        try:
            cfg = load_config(str(empty), pairs)
        except ValueError as error:
            if str(error).startswith(("command line: ", "expected pairs KEY value")):
                raise ValueError(f"{path}: {error}") from error
            raise
        return {key: plain(value) for key, value in flatten(cfg).items()}

    def parse(content: bytes) -> dict:
        pairs = content.decode(errors="replace").split("\n")
        given = dict(zip(pairs[::2], pairs[1::2], strict=True))
        return DEFAULTS | {key: literal(value) for key, value in given.items()}

    lines = b"SOLVER.BASE_LR\n0.02\nMODEL.RPN.ANCHOR_SIZES\n(8, 16)\nDTYPE\nfloat16"

    def mutate(content: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.5:
            return mutate_text(content, rng)
        key, value = rng.choice(list(DEFAULTS)), rng.choice(NASTY_WORDS)
        return f"{key}\n{value}".encode()

    return Kind(800, "opts", lines, mutate, read, plainly(parse))


def picture(trials: int, suffix: str, mode: str, **options: Any) -> Kind:
    rng = np.random.default_rng(3)
    shape = (37, 53) + ((3,) if mode == "RGB" else ())
    pixels = rng.integers(0, 255, shape, dtype=np.uint8) // 16 * 16
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, **options)
    content = stream.getvalue()

    def wrong(damaged: bytes, value: Any, original: Any) -> str:
        if options["format"] == "PNG":
            return differs(damaged, value[0], original)
        if content.startswith(damaged):
            return f"cut short to {len(damaged)} of {len(content)} bytes, but read"
        (height, width, channels), (told_width, told_height) = value[0], value[2]
        if (width, height, channels) != (told_width, told_height, 3):
            return f"shape {value[0]}, but its header says {told_width} x {told_height}"
        return ""

    return Kind(trials, f"a.{suffix}", content, mutate_bytes, read_picture, wrong)


def deep_png() -> Kind:
    rng = np.random.default_rng(4)
    import cv2

    content = cv2.imencode(".png", rng.integers(0, 65536, (21, 33, 3), dtype=np.uint16))[1]
    return Kind(700, "a.png", content.tobytes(), mutate_bytes, read_picture, differs)


def read_picture(path: Path) -> tuple:
    pixels = read_image(path)
    return pixels.shape, pixels.tobytes(), read_image_size(path)


def values_of(tree: Any) -> Any:
    """Return containers of tensors as plain values."""
    if isinstance(tree, torch.Tensor):
        return str(tree.dtype), tuple(tree.shape), tree.contiguous().numpy().tobytes()
    if isinstance(tree, dict):
        return {key: values_of(value) for key, value in tree.items()}
    return [values_of(item) for item in tree] if isinstance(tree, (list, tuple)) else tree


def training() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(6)
    model = nn.Sequential(nn.Linear(30, 20), nn.BatchNorm1d(20))
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def checkpoint_content(**options: Any) -> bytes:
    model, optimizer = training()
    model(torch.rand(4, 30)).square().sum().backward()
    optimizer.step()
    stream = io.BytesIO()
    states = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "iteration": 7}
    torch.save(states, stream, **options)
    return stream.getvalue()


def read_checkpoint(path: Path) -> dict:
    """Resume a training, and return the whole state."""
    (path.parent / "last_checkpoint").write_text(str(path))
    model, optimizer = training()
    rest = Checkpointer(model, optimizer, save_dir=str(path.parent)).load()
    states = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rest": rest}
    return values_of(states)


def pth() -> Kind:
    content = checkpoint_content()
    return Kind(800, "model_0000007.pth", content, mutate_bytes, read_checkpoint, differs)


def old_pth() -> Kind:
    content = checkpoint_content(_use_new_zipfile_serialization=False)

    def wrong(damaged: bytes, value: Any, original: Any) -> str:
        if content.startswith(damaged):
            return f"cut short to {len(damaged)} of {len(content)} bytes, but read"
        for name, (dtype, shape, numbers) in value["model"].items():
            if (dtype, shape) != original["model"][name][:2]:
                return f"{name} is {dtype} {shape}"
            if dtype == "torch.float32" and not np.isfinite(np.frombuffer(numbers, "f4")).all():
                return f"{name} is not finite"
        return ""

    return Kind(500, "model_0000007.pth", content, mutate_bytes, read_checkpoint, wrong)


def pkl() -> Kind:
    rng = np.random.default_rng(5)
    shapes = {"conv1_w": (8, 3, 7, 7), "conv1_b": (8,), "res2_0_branch2a_w": (4, 8, 1, 1)}
    blobs = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    content = pickle.dumps({"blobs": blobs, "cfg": "TRAIN: ..."}, protocol=2)
    cfg = default_cfg.clone()
    cfg.MODEL.BACKBONE.CONV_BODY = "R-50-FPN"

    def wrong(damaged: bytes, value: Any, original: Any) -> str:
        if content.startswith(damaged):
            return f"cut short to {len(damaged)} of {len(content)} bytes, but read"
        size = sum(len(numbers) for _, _, numbers in value["model"].values())
        return f"{size} bytes of numbers from {len(damaged)}" if size > len(damaged) else ""

    def read(path: Path) -> dict:
        return values_of(load_c2_format(cfg, str(path)))

    return Kind(700, "R-50.pkl", content, mutate_bytes, read, wrong)


def coco() -> Kind:
    def parse(content: bytes) -> dict:
        tree = json.loads(content)
        known = {key: [entry["id"] for entry in tree[key]] for key in ("images", "categories")}
        for ids in known.values():
            if len(set(ids)) != len(ids):
                raise ValueError("an id occurs twice")
        for item in tree.setdefault("annotations", []):
            item.setdefault("iscrowd", 0)
            x, y, width, height = item["bbox"]
            item.setdefault("area", width * height)
            if not all(map(math.isfinite, (x, y, width, height, item["area"]))):
                raise ValueError("numbers that are not finite")
            if item["image_id"] not in known["images"]:
                raise ValueError("an image that is not there")
            if item["category_id"] not in known["categories"]:
                raise ValueError("a category that is not there")
        return tree

    content = json.dumps(COCO, indent=1).encode()
    return Kind(1000, "instances.json", content, mutate_text, read_coco_file, plainly(parse))


def tiles() -> Kind:
    def parse(content: bytes) -> dict:
        return {"tile": 0, "overlap": 0, "sources": {}} | json.loads(content)

    content = json.dumps(SPLIT | {"sources": SOURCES}, indent=1).encode()

    def read(path: Path) -> dict:
        return read_plan(path.parent)

    return Kind(500, PLAN, content, mutate_text, read, plainly(parse))


def json_lines(content: bytes) -> list:
    """Return what the lines hold that are JSON; a killed run leaves one that is not."""
    rows = []
    for line in content.split(b"\n"):
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError):
            continue
    return rows


def journal() -> Kind:
    def wrong(damaged: bytes, value: Any, original: Any) -> str:
        """Each source is as one of the lines says it."""
        rows = [row for row in json_lines(damaged) if isinstance(row, dict)]
        for name, entry in value.items():
            if entry | {"name": name} not in rows:
                return f"no line says of {name!r:.80} {entry!r:.200}"
        return ""

    def read(path: Path) -> dict:
        return read_finished(path.parent, SPLIT)

    rows = [SPLIT, *({"name": name} | entry for name, entry in SOURCES.items())]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return Kind(600, JOURNAL, content, mutate_text, read, wrong)


def metrics() -> Kind:
    def wrong(damaged: bytes, value: Any, _: Any) -> str:
        rows = [
            row
            for row in json_lines(damaged)
            if isinstance(row, dict) and type(row.get("iteration")) is int
        ]
        return "" if value == rows else f"expected {rows!r:.200}, got {value!r:.200}"

    rows = [{"iteration": n, "loss": 1.5 / n, "lr": 0.01, "data": None} for n in range(1, 6)]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return Kind(400, "metrics.jsonl", content, mutate_text, read_metrics, wrong)


KINDS: dict[str, Callable[[], Kind]] = {
    "labels": labels,
    "results": results,
    "settings-file": settings_file,
    "settings": settings,
    "png": lambda: picture(700, "png", "RGB", format="PNG"),
    "palette-png": lambda: picture(300, "png", "P", format="PNG"),
    "deep-png": deep_png,
    "jpeg": lambda: picture(600, "jpg", "RGB", format="JPEG"),
    "tiff": lambda: picture(400, "tif", "RGB", format="TIFF"),
    "deflated-tiff": lambda: picture(
        300, "tif", "RGB", format="TIFF", compression="tiff_adobe_deflate"
    ),
    "bmp": lambda: picture(300, "bmp", "RGB", format="BMP"),
    "pth": pth,
    "old-pth": old_pth,
    "pkl": pkl,
    "coco": coco,
    "tiles": tiles,
    "journal": journal,
    "metrics": metrics,
}
