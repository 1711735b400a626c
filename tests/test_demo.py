"""tools/demo.py does nothing before it is meant to."""

import sys
from importlib import util
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[1] / "tools" / "demo.py"


@pytest.mark.parametrize(
    "argument, code, told", [("--help", 0, "makes output/demo anew"), ("--fast", 2, "--fast")]
)
def test_fault_help_deletes_the_demo_and_trains(tmp_path, monkeypatch, capfd, argument, code, told):
    spec = util.spec_from_file_location("demo_tool", DEMO)
    demo = util.module_from_spec(spec)
    spec.loader.exec_module(demo)
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
