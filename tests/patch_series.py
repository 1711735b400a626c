"""Read patches/, make files that they apply to, and run the files that they add."""

import re
import subprocess
import types
from dataclasses import dataclass, field
from pathlib import Path

PATCHES = Path(__file__).resolve().parents[1] / "patches"
ORIGINAL_COMMIT = "57eec25b75144d9fb1a6857f32553e1574177daf"


@dataclass
class Hunk:
    """A hunk; `lines` keep their first character: " ", "-" or "+"."""

    old_start: int
    old_count: int
    new_count: int
    lines: list[str] = field(default_factory=list)

    def side(self, signs: str) -> list[str]:
        return [line[1:] for line in self.lines if line[0] in signs]


@dataclass
class FilePatch:
    path: str
    is_new: bool
    hunks: list[Hunk] = field(default_factory=list)


def series() -> list[Path]:
    return sorted(PATCHES.glob("[0-9]*.patch"))


def patch_file(number: int) -> Path:
    (path,) = PATCHES.glob(f"{number:04d}-*.patch")
    return path


def parse(patch: Path) -> list[FilePatch]:
    """Split a patch into files and hunks; a hunk ends where its header says."""
    files: list[FilePatch] = []
    lines = patch.read_text().split("\n")
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if line.startswith("diff --git "):
            path = re.fullmatch(r"diff --git a/(\S+) b/(\S+)", line)[2]
            files.append(FilePatch(path, lines[at].startswith("new file mode")))
        elif line.startswith("@@ "):
            numbers = re.match(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", line)
            hunk = Hunk(int(numbers[1]), int(numbers[2] or 1), int(numbers[4] or 1))
            while len(hunk.side(" -")) < hunk.old_count or len(hunk.side(" +")) < hunk.new_count:
                hunk.lines.append(lines[at])
                at += 1
            files[-1].hunks.append(hunk)
    return files


def new_files(number: int) -> dict[str, str]:
    """Return the text of each file that a patch adds."""
    files = [file for file in parse(patch_file(number)) if file.is_new]
    return {file.path: "\n".join(file.hunks[0].side("+")) + "\n" for file in files}


def run_new_file(number: int, path: str, **names) -> types.ModuleType:
    """Run a file that a patch adds; its relative imports use our package of that name."""
    path = "maskrcnn_benchmark/" + path
    module = types.ModuleType(path.removesuffix(".py").replace("/", "."))
    module.__package__ = module.__name__.rpartition(".")[0]
    module.__dict__.update(names)
    exec(compile(new_files(number)[path], path, "exec"), module.__dict__)
    return module


def skeleton_lines(patches: list[Path]) -> dict[str, dict[int, str]]:
    """Return, for each file that patches change, the old lines that they name, by line number."""
    skeleton: dict[str, dict[int, str]] = {}
    for patch in patches:
        for file in parse(patch):
            if file.is_new:
                continue
            known = skeleton.setdefault(file.path, {})
            for hunk in file.hunks:
                for number, line in enumerate(hunk.side(" -"), hunk.old_start):
                    if known.setdefault(number, line) != line:
                        raise ValueError(
                            f"{patch.name}: {file.path}:{number} is said to be both "
                            f"{known[number]!r} and {line!r}"
                        )
    return skeleton


def _ends(patches: list[Path]) -> set[str]:
    """Return the files whose last hunk reaches their end, since it ends without context."""
    files = [file for patch in patches for file in parse(patch) if not file.is_new]
    return {file.path for file in files if file.hunks[-1].lines[-1][0] != " "}


def write_skeleton(folder: Path, patches: list[Path]) -> None:
    """Write a package of the lines that patches name, with other lines between and around them."""
    skeleton = skeleton_lines(patches)
    for path in ("structures/boxlist_ops.py", "modeling/matcher.py"):  # what makes a checkout
        skeleton.setdefault("maskrcnn_benchmark/" + path, {})
    for path, lines in skeleton.items():
        last = max(lines, default=0) + (path not in _ends(patches))
        text = [lines.get(number, f"# line {number} of {path}") for number in range(1, last + 1)]
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join(text) + "\n")


def git(folder: Path, *arguments: str) -> str:
    """Run git with a neutral identity; return what it printed."""
    identity = ["-c", "user.name=tester", "-c", "user.email=tester@localhost"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def commit_all(folder: Path) -> None:
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "as it was")


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder but git's own."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
