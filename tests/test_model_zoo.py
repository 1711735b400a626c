"""Downloads from a server that the test starts."""

import hashlib
import http.server
import re
import threading
from pathlib import Path

import pytest

from maskrcnn_benchmark.utils import model_zoo

CONTENT = bytes(range(256)) * 400


class _Server(http.server.BaseHTTPRequestHandler):
    """Server of CONTENT under every name.

    Half of it under /cut/…, half of it and no word of its length under /endless/…, a page under
    /login/…, the name of the folder under /of/…, 404 under /none/….
    """

    asked: list[str] = []

    def do_GET(self):
        self.asked.append(self.path)
        _, folder, name, *_ = [*self.path.split("/"), ""]
        half = CONTENT[: len(CONTENT) // 2]
        page = b"\n<!DOCTYPE html><title>Please log in</title>"
        sent = {"cut": half, "endless": half, "login": page, "of": name.encode()}
        content = sent.get(folder, CONTENT)
        self.send_response(404 if folder == "none" else 200)
        if folder != "endless":
            self.send_header("Content-Length", str(len(CONTENT if folder == "cut" else content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def _told_place(error: OSError) -> str:
    return re.search(r"put it at (\S+); or name a file", str(error))[1]


@pytest.fixture
def address(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_Server, "asked", [])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_file_is_downloaded_once(address, tmp_path):
    digest = hashlib.sha256(CONTENT).hexdigest()[:8]
    url = f"{address}/models/resnet50-{digest}.pth"
    for _ in range(2):
        path = model_zoo.cache_url(url, tmp_path / "zoo", progress=False)
    assert path.endswith(f"/resnet50-{digest}.pth")
    assert open(path, "rb").read() == CONTENT
    assert _Server.asked == [f"/models/resnet50-{digest}.pth"]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("cut/R-50.pkl", "expected 102400 bytes, got 51200"),
        ("whole/w-00000000.pth", "invalid hash: expected a SHA256 of 00000000"),
        ("none/R-50.pkl", "404"),
        ("endless/R-50.pkl", "says not how long"),
        ("login/R-50.pkl", "login/R-50.pkl gave a web page, not weights"),
    ],
)
def test_what_fails_leaves_nothing_behind(address, tmp_path, path, error):
    with pytest.raises((OSError, ValueError), match=error):
        model_zoo.cache_url(f"{address}/{path}", tmp_path, progress=False)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_fault_weights_of_another_address_were_used(address, tmp_path):
    """The cache went by the file's name alone."""
    paths = [
        model_zoo.cache_url(f"{address}/of/{folder}/R-50.pkl{query}", tmp_path, progress=False)
        for folder, query in (("a", ""), ("b", ""), ("a", "?version=2"))
    ]
    assert [open(path).read() for path in paths] == ["a", "b", "a"]
    assert len(set(paths)) == 3 and {path.rpartition("/")[2] for path in paths} == {"R-50.pkl"}
    with pytest.raises(OSError, match="404"):
        model_zoo.cache_url(f"{address}/none/R-50.pkl", tmp_path, progress=False)


def test_fault_a_file_of_the_old_cache_was_taken_for_any_address(address, tmp_path):
    (tmp_path / "R-50.pkl").write_bytes(b"of some address")
    path = model_zoo.cache_url(f"{address}/MSRA/R-50.pkl", tmp_path, progress=False)
    assert open(path, "rb").read() == CONTENT
    with pytest.raises(OSError, match=rf"\({tmp_path}/R-50.pkl may be another address's: move it"):
        model_zoo.cache_url(f"{address}/none/R-50.pkl", tmp_path, progress=False)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("R-50.pkl", b"  <html>", "gave a web page"),
        ("w-00000000.pth", b"any", "invalid hash"),
    ],
)
def test_fault_a_wrong_file_stayed_in_the_cache(tmp_path, name, content, told):
    url = f"http://127.0.0.1:1/{name}"
    with pytest.raises(OSError, match="put it at") as caught:
        model_zoo.cache_url(url, tmp_path, progress=False)
    place = Path(_told_place(caught.value))
    place.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{told}.*It lies at {place}: delete it"):
        model_zoo.cache_url(url, tmp_path, progress=False)


@pytest.mark.parametrize(
    ("path", "name"),
    [("a/..", "weights"), ("", "weights"), ("a%20b/w.pth", "w.pth"), ("x" * 300, "x" * 100)],
)
def test_any_address_has_a_place(address, tmp_path, path, name):
    found = Path(model_zoo.cache_url(f"{address}/{path}", tmp_path, progress=False))
    assert found.name == name and found.parent.parent == tmp_path


@pytest.mark.parametrize(
    "url", ["{address}/none/R-50.pkl", "{address}/cut/R-50.pkl", "http://127.0.0.1:1/R-50.pkl"]
)
def test_fault_what_cannot_be_downloaded_does_not_say_where_to_put_it(address, tmp_path, url):
    url = url.format(address=address)
    with pytest.raises(OSError) as caught:
        model_zoo.cache_url(url, tmp_path / "zoo", progress=False)
    message = str(caught.value)
    assert message.startswith(f"{url} cannot be downloaded (")
    place = Path(_told_place(caught.value))
    assert place.name == "R-50.pkl" and place.parent.parent == tmp_path / "zoo"
    place.write_bytes(b"by hand")  # as the message says
    assert model_zoo.cache_url(url, tmp_path / "zoo") == str(place)


def test_a_name_of_two_digits_is_no_hash(address, tmp_path):
    path = model_zoo.cache_url(f"{address}/MSRA/R-50.pkl", tmp_path, progress=False)
    assert open(path, "rb").read() == CONTENT
