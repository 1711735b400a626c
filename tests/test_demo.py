"""tools/demo.py does nothing before it is meant to."""

import sys
from pathlib import Path

import pytest
from launching import load_file


@pytest.mark.parametrize(
    "argument, code, told", [("--help", 0, "makes output/demo anew"), ("--fast", 2, "--fast")]
)
def test_fault_help_deletes_the_demo_and_trains(tmp_path, monkeypatch, capfd, argument, code, told):
    demo = load_file("tools/demo.py")
    monkeypatch.setattr(demo, "REPOSITORY", tmp_path)
    monkeypatch.setattr(sys, "argv", ["demo.py", argument])
    kept = tmp_path / "output" / "demo" / "grid.png"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"a picture")
    before = Path.cwd()
    with pytest.raises(SystemExit) as end:
        demo.main()
    assert end.value.code == code and told in "".join(capfd.readouterr())
    assert kept.read_bytes() == b"a picture" and Path.cwd() == before
