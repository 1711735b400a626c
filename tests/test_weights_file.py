"""Files from strangers: what is larger than it says, or would keep the reader busy for ever."""

import io
import pickle
import random
import zipfile

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.utils import c2_model_loading as c2
from maskrcnn_benchmark.utils import pickle_limits
from maskrcnn_benchmark.utils.pickle_limits import check_pickle
from maskrcnn_benchmark.utils.weights_file import read_weights_file


def _check(content: bytes) -> None:
    check_pickle(io.BytesIO(content), len(content))


def _nested_tuples(depth: int) -> bytes:
    """Return the pickle of {t: 1}, where each tuple holds the previous one twice."""
    levels = b"".join(b"h%ch%c\x86q%c0" % (n, n, n + 1) for n in range(depth))
    return b"\x80\x02)q\x000" + levels + b"}h%cK\x01s." % depth


BOMBS = {  # name -> (pickle, what is told)
    "memo index": (b"\x80\x02Nr\xff\xff\xff\x11.", "wants a memo of 301989887 entries"),
    "hash": (_nested_tuples(60), "stand for"),
    "many sets": (b"\x80\x04" + b"\x8f" * 50_001 + b".", "more than 50000 opcodes"),
    "copies of a list": (
        b"\x80\x02](" + b"K\x01" * 6000 + b"eq\x000cbuiltins\nset\nq\x010("
        + b"h\x01h\x00\x85R" * 6000 + b"l.",
        "stand for",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "told"), BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("form", ["pkl", "zip", "legacy"])
def test_fault_small_files_that_take_gigabytes_or_years(tmp_path, monkeypatch, content, told, form):
    monkeypatch.setattr(pickle_limits, "MAX_STEPS", 50_000)  # counted sooner than a million
    path = tmp_path / f"bomb.{'pkl' if form == 'pkl' else 'pth'}"
    path.write_bytes(content)
    if form == "zip":
        torch.save({"w": torch.zeros(2)}, path)
        _replace_part(path, "data.pkl", content)
    with pytest.raises(ValueError, match=rf"{path}.*{told}"):
        c2._load_c2_pickled_weights(str(path)) if form == "pkl" else read_weights_file(str(path))


def _replace_part(path, name: str, content: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {part.filename: archive.read(part) for part in archive.infolist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for part, old in parts.items():
            archive.writestr(part, content if part.endswith(name) else old)


def test_fault_a_compressed_file_unpacks_to_gigabytes(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"w": torch.zeros(2)}, path)
    _replace_part(path, "data/0", bytes(20_000_000), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 50_000
    with pytest.raises(ValueError, match="w.pth is damaged.*parts that are larger: compressed"):
        read_weights_file(str(path))


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R", "bytearray of 2147483647 bytes"),
        (b"cnumpy\ndtype\n" + _nested_tuples(60)[2:-5] + b"\x85R", "stand for|no short name"),
    ],
    ids=["bytearray", "dtype"],
)
def test_fault_functions_of_a_pickle_that_take_gigabytes(tmp_path, bad, told):
    (tmp_path / "w.pkl").write_bytes(b"\x80\x02" + bad + b".")
    with pytest.raises(ValueError, match=told):
        c2._load_c2_pickled_weights(str(tmp_path / "w.pkl"))


def test_an_array_under_many_names_is_refused(tmp_path):
    array = np.zeros(10_000, np.float32)
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({f"a{n}_w": array for n in range(20)}))
    with pytest.raises(ValueError, match="w.pkl has .* bytes, but its arrays are larger"):
        c2._load_c2_pickled_weights(str(tmp_path / "w.pkl"))


@pytest.mark.parametrize("protocol", range(6))
def test_what_weights_hold_passes(protocol):
    shared = ("a", "b")
    state = {
        "arrays": [np.arange(6.0).reshape(2, 3), np.float32(2)],
        "containers": [[shared, shared], {1: {2, 3}}, frozenset({4}), bytearray(b"5"), None],
        "rng": random.getstate(),
    }
    _check(pickle.dumps(state, protocol))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_file_of_today_and_one_of_the_original_are_read(tmp_path, zipped):
    weights = {"a": torch.arange(3.0), "tied": torch.ones(2, 2).T, "iteration": 3}
    torch.save(weights, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    read = read_weights_file(str(tmp_path / "w.pth"))
    assert torch.equal(read["a"], weights["a"]) and torch.equal(read["tied"], weights["tied"])
    assert read["iteration"] == 3
