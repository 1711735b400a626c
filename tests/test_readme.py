"""What README.md and docs/ name is there: paths, tests, settings, command lines, imports."""

import argparse
import ast
import re
import shlex
import sys
from pathlib import Path

import pytest
from launching import ROOT, load_file
from PIL import Image

from maskrcnn_benchmark.config import cfg as defaults
from maskrcnn_benchmark.config import load_config

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
WITH_COMMANDS = [*PAGES, ROOT / "patches" / "README.md"]
PACKAGE = ROOT / "maskrcnn_benchmark"
# what the commands make, or what a reader has
MADE = ("output/", "found/", "tiles/", "MY/", "DOTA/", "FOLDER/", "OUTPUT_DIR/")


class Parsed(Exception):
    """Raised where a tool would begin its work."""


def blocks(text: str) -> list[str]:
    """Return the code blocks, fenced or indented, with continued lines joined."""
    fenced = re.findall(r"^```.*\n((?:.*\n)*?)^```", text, flags=re.M)
    indented = re.findall(r"(?:^ {4}\S?.*\n)+", text, flags=re.M)
    return [re.sub(r"\\\n\s*", "", block) for block in fenced + indented]


def spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text)


def missing_paths(text: str, folder: Path) -> list[str]:
    """Return the files, folders and links that a page names and that are not there."""
    links = re.findall(r"\]\(([^)#\s]+)\)", text)
    missing = [link for link in links if not (folder / link).exists()]
    for span in spans(text):
        is_path = re.fullmatch(r"[\w.-]+/([\w./*-]+\.(py|md|yaml|jpg)|([\w-]+/)*)", span)
        if is_path and not span.startswith(MADE):
            if not any(list(place.glob(span)) for place in (ROOT, PACKAGE)):
                missing.append(span)
    return missing


def missing_tests(text: str) -> list[str]:
    """Return the tests that a page names and that are not there; `::test_x` is in the last file."""
    missing, file = [], Path()
    for span in spans(text):
        named = re.fullmatch(r"(?:tests/)?(test_\w+\.py)?(?:::(test_\w+))?", span)
        if named:
            file = ROOT / "tests" / named[1] if named[1] else file
            if not file.is_file() or (named[2] and named[2] not in functions(file)):
                missing.append(span)
    return missing


def functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def unknown_settings(text: str) -> list[str]:
    """Return the settings that a page names and that config/defaults.py lacks."""
    sections = "|".join(name for name, value in defaults.items() if hasattr(value, "keys"))
    unknown = []
    for key in re.findall(rf"\b(?:{sections})\.[A-Z][A-Z0-9_.]*[A-Z0-9]", text):
        node = defaults
        for part in key.split("."):
            node = node.get(part) if hasattr(node, "get") else None
        if node is None:
            unknown.append(key)
    return unknown


def commands(text: str) -> list[list[str]]:
    """Return the calls of the tools, in blocks and in line, as words."""
    lines = [line for block in blocks(text) for line in block.splitlines()] + spans(text)
    starts = r"\s*(?:\S+=\S+ )?(?:python|torchrun) (?:--\S+ )*(?=tools/)"
    calls = [re.sub(starts, "", line) for line in lines if re.match(starts, line)]
    return [shlex.split(call, comments=True) for call in calls]


def refusal(words: list[str], monkeypatch, capsys) -> str:
    """Let a tool parse its command line and read the settings; return what it refuses."""

    def parse(parser, *args, **kwargs):
        raise Parsed(parse_args(parser, *args, **kwargs))

    parse_args = argparse.ArgumentParser.parse_args
    with monkeypatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        patch.setattr(sys, "argv", words)
        try:
            load_file(words[0]).main()
        except Parsed as parsed:
            return settings_refusal(parsed.args[0])
        except SystemExit:
            return capsys.readouterr().err
        except OSError as error:
            return str(error)
    return f"{words[0]} parses no arguments"


def settings_refusal(arguments: argparse.Namespace) -> str:
    file = getattr(arguments, "config_file", "")
    if not file or file.startswith("output/"):  # what training left there
        file = "configs/quickstart.yaml"
    try:
        load_config(file, getattr(arguments, "opts", []))
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    return ""


def python_imports(text: str) -> list[str]:
    lines = [line.strip() for block in blocks(text) for line in block.splitlines()]
    return [line for line in lines if re.match(r"(from \S+ import|import) ", line)]


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_what_a_page_names_is_there(page):
    text = page.read_text(encoding="utf-8")
    assert missing_paths(text, page.parent) == []
    assert missing_tests(text) == []
    assert unknown_settings(text) == []


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=page_name)
def test_its_commands_and_imports_work(page, monkeypatch, capsys):
    text = page.read_text(encoding="utf-8")
    for words in commands(text):
        assert (words, refusal(words, monkeypatch, capsys)) == (words, "")
    for line in python_imports(text):
        exec(line, {})


def test_the_readme_shows_how_to_use_every_tool():
    named = {words[0] for words in commands((ROOT / "README.md").read_text(encoding="utf-8"))}
    expected = {
        f"tools/{name}.py" for name in ("dota", "export", "train_net", "test_net", "predict")
    }
    assert expected <= named


def test_every_page_of_docs_is_linked_from_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page for page in map(page_name, PAGES[1:]) if f"]({page})" not in readme] == []


def test_the_picture_is_small():
    picture = ROOT / "docs" / "demo.jpg"
    assert picture.stat().st_size < 150_000
    width, height = Image.open(picture).size
    assert 600 <= width <= 1400 and 300 <= height <= 1400


def test_what_is_wrong_on_a_page_is_found(monkeypatch, capsys):
    text = (
        "see [there](docs/gone.md), `engine/gone.py` and `engine/trainer.py`;\n"
        "`test_readme.py::test_gone`, `::test_the_picture_is_small`, `test_gone.py::test_x`;\n"
        "`SOLVER.STEPZ` and `SOLVER.STEPS`\n\n"
        "    python tools/dota.py split A B --sise 800     # a comment\n"
        "    torchrun --nproc_per_node=2 tools/train_net.py \\\n"
        "        --config-file configs/quickstart.yaml SOLVER.MAX_ITR 5\n"
        "    python tools/train_net.py --config-file configs/gone.yaml\n"
        "    python tools/gone.py\n"
        "    python tools/dota.py split A B --size 800\n"
    )
    assert missing_paths(text, ROOT) == ["docs/gone.md", "engine/gone.py"]
    assert missing_tests(text) == ["test_readme.py::test_gone", "test_gone.py::test_x"]
    assert unknown_settings(text) == ["SOLVER.STEPZ", "SOLVER.MAX_ITR"]
    answers = [refusal(words, monkeypatch, capsys) for words in commands(text)]
    for part, answer in zip(
        ("--sise", "SOLVER.MAX_ITR", "configs/gone.yaml", "gone.py", ""), answers, strict=True
    ):
        assert part in answer and (part or not answer)
