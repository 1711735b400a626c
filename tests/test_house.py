"""Rules of the code that a program can check: imports, docstrings, words, lengths of files."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "maskrcnn_benchmark"
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = [*MODULES, *sorted((ROOT / "tools").rglob("*.py")), ROOT / "setup.py"]

# Folders of the package. Each imports from itself and from those of earlier lines only.
LEVELS = (
    ("config",),
    ("utils",),
    ("layers",),
    ("structures", "images"),
    ("dota", "modeling", "solver"),
    ("data",),
    ("engine",),
    ("export",),
    ("benchmarks", "demo"),
    ("commands",),
)
MAX_LINES = 430  # about 200 is the rule, seldom over 400
CALLED_BY_TORCH = ("forward", "extra_repr")  # the docstring of the class describes them
NO_VERBS = ("A", "An", "The", "As", "What", "Whether", "How")  # at the head of a docstring
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")
NAMES = ("None", "True", "False", "Cityscapes", "Detectron", "Python")  # stay in upper case
PLAIN_WORDS = {r"(un)?judg(e|ing|ment)": "evaluate", "without a word": "silently"}


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def imports(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """Yield the full name of each import in a module, inside functions too."""
    package = ("maskrcnn_benchmark", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from ((node, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*parents, *filter(None, [node.module])])
            yield from ((node, f"{module}.{name.name}") for name in node.names)


def folder_of(module: str) -> str:
    """Return the folder of a module of the package; _C.py belongs to layers."""
    folder = module.split(".")[1]
    return "layers" if folder == "_C" else folder


def public_definitions(parent: ast.AST) -> Iterator[ast.ClassDef | ast.FunctionDef]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node)


def docstrings(path: Path) -> Iterator[tuple[ast.AST, list[str]]]:
    """Yield the lines of each docstring."""
    for node in ast.walk(parse(path)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield node, text.splitlines()


def test_imports_go_one_way():
    level_of = {folder: level for level, folders in enumerate(LEVELS) for folder in folders}
    assert {path.name for path in PACKAGE.iterdir() if any(path.glob("*.py"))} == set(level_of)
    wrong = []
    for path in MODULES:
        module = ".".join(["maskrcnn_benchmark", *path.relative_to(PACKAGE).with_suffix("").parts])
        own = folder_of(module)
        for node, name in imports(path):
            other = folder_of(name) if name.startswith("maskrcnn_benchmark.") else own
            upwards = other != own and level_of.get(other, -1) >= level_of.get(own, -1)
            if upwards or name.split(".")[0] in ("tools", "tests"):
                wrong.append(f"{place(path, node)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_public_functions_and_classes_have_a_docstring():
    wrong = [
        f"{place(path, node)} {node.name}"
        for path in MODULES
        for node in public_definitions(parse(path))
        if node.name not in CALLED_BY_TORCH and not ast.get_docstring(node)
    ]
    assert not wrong, "\n".join(wrong)


def test_docstrings_of_functions_begin_with_an_imperative():
    wrong = []
    for path in SOURCES:
        for node, lines in docstrings(path):
            word = re.match(r"\W*([\w-]*)", lines[0])[1]
            third_person = word.endswith("s") and not word.endswith("ss")
            if isinstance(node, ast.FunctionDef) and (third_person or word in NO_VERBS):
                wrong.append(f"{place(path, node)} {lines[0]}")
    assert not wrong, "\n".join(wrong)


def test_entries_of_docstrings_are_in_lower_case_and_sections_apart():
    wrong = []
    for path in SOURCES:
        for node, lines in docstrings(path):
            section = None
            for before, line in zip(["", *lines], lines, strict=False):
                if line.removesuffix(":") in SECTIONS and line.endswith(":"):
                    section = line.removesuffix(":")
                    if before:
                        wrong.append(f"{place(path, node)} no empty line above {line}")
                elif line and not line.startswith(" "):
                    section = None
                entry = re.match(r"    [\w*, ]+: (.*)", line)  # "    name, name: text"
                if section in ("Returns", "Yields"):
                    entry = before == f"{section}:" and re.match(r"    (.*)", line)
                # a word such as "One", not a name such as BoxList, NaN, DOTA or Matcher.forward
                word = section and entry and re.match(r"[A-Z][a-z]+\b(?!['(]|\.\w)", entry[1])
                if word and word[0] not in NAMES:
                    wrong.append(f"{place(path, node)} {line.strip()}")
    assert not wrong, "\n".join(wrong)


def test_plain_words():
    tests = set((ROOT / "tests").glob("*.py")) - {Path(__file__)}
    wrong = []
    for path in [*SOURCES, *sorted(tests), *sorted((ROOT / "configs").rglob("*.yaml"))]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for word, plain in PLAIN_WORDS.items():
                if re.search(rf"\b{word}", line.replace("_", " "), re.IGNORECASE):
                    wrong.append(f"{path.relative_to(ROOT)}:{number} '{plain}': {line.strip()}")
    assert not wrong, "\n".join(wrong)


def test_no_file_is_too_long():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    wrong = [f"{path.relative_to(ROOT)}: {n}" for path, n in lengths.items() if n > MAX_LINES]
    assert not wrong, "\n".join(wrong)
