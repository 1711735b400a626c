"""Downloads from a server that the test starts."""

import hashlib
import http.server
import threading

import pytest

from maskrcnn_benchmark.utils import model_zoo

CONTENT = bytes(range(256)) * 400


class _Server(http.server.BaseHTTPRequestHandler):
    """Server that sends CONTENT under every name, half of it under /cut/…, 404 under /none/…."""

    asked: list[str] = []

    def do_GET(self):
        self.asked.append(self.path)
        self.send_response(404 if self.path.startswith("/none/") else 200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // (2 if self.path.startswith("/cut/") else 1)])

    def log_message(self, *_):
        pass


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
    assert path == str(tmp_path / "zoo" / f"resnet50-{digest}.pth")
    assert open(path, "rb").read() == CONTENT
    assert _Server.asked == [f"/models/resnet50-{digest}.pth"]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("cut/R-50.pkl", "expected 102400 bytes, got 51200"),
        ("whole/w-00000000.pth", "invalid hash: expected a SHA256 of 00000000"),
        ("none/R-50.pkl", "404"),
    ],
)
def test_what_fails_leaves_nothing_behind(address, tmp_path, path, error):
    with pytest.raises((OSError, ValueError), match=error):
        model_zoo.cache_url(f"{address}/{path}", tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["{address}/none/R-50.pkl", "{address}/cut/R-50.pkl", "http://127.0.0.1:1/R-50.pkl"]
)
def test_fault_what_cannot_be_downloaded_does_not_say_where_to_put_it(address, tmp_path, url):
    url = url.format(address=address)
    with pytest.raises(OSError) as caught:
        model_zoo.cache_url(url, tmp_path / "zoo", progress=False)
    message = str(caught.value)
    assert message.startswith(f"{url} cannot be downloaded (")
    assert f"put it at {tmp_path / 'zoo' / 'R-50.pkl'}; or name a file" in message
    (tmp_path / "zoo" / "R-50.pkl").write_bytes(b"by hand")  # as the message says
    assert model_zoo.cache_url(url, tmp_path / "zoo") == str(tmp_path / "zoo" / "R-50.pkl")


def test_a_name_of_two_digits_is_no_hash(address, tmp_path):
    path = model_zoo.cache_url(f"{address}/MSRA/R-50.pkl", tmp_path, progress=False)
    assert open(path, "rb").read() == CONTENT
