"""How a tool ends."""

import pytest

from maskrcnn_benchmark.utils.command_line import run_tool


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ValueError("tile is 0,\n set it"), 2, "error: tile is 0, set it"),
        (FileNotFoundError("x.png: no such file"), 2, "error: x.png: no such file"),
        (FloatingPointError("loss nan"), 1, "error: loss nan"),
        (
            ValueError("Caught ValueError in DataLoader worker 0.\nTrace…\nValueError: bad"),
            *(2, "error: ValueError: bad"),
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=["value", "file", "loss", "worker", "ctrl-c"],
)
def test_how_a_tool_ends(capsys, monkeypatch, error, code, told):
    monkeypatch.delenv("MASKRCNN_DEBUG", raising=False)

    def main():
        raise error

    with pytest.raises(SystemExit) as end:
        run_tool(main)
    assert end.value.code == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (1 if told else 0)
    assert not told or lines[0].startswith(told)


def test_tracebacks_on_request_and_faults_of_ours_always(monkeypatch):
    monkeypatch.setenv("MASKRCNN_DEBUG", "1")
    with pytest.raises(ValueError, match="deep"):
        run_tool(lambda: int("deep"))
    monkeypatch.delenv("MASKRCNN_DEBUG")
    with pytest.raises(ZeroDivisionError):
        run_tool(lambda: 1 // 0)


def test_a_tool_ends_with_what_main_returns():
    for answer, code in ((None, None), (1, 1)):
        with pytest.raises(SystemExit) as end:
            run_tool(lambda given=answer: given)
        assert end.value.code == code
