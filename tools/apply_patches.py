"""Apply our patches to a checkout of the original or of a fork (see patches/README.md).

python tools/apply_patches.py CHECKOUT              apply all, or none if one does not apply
python tools/apply_patches.py CHECKOUT --check      print what applies, change nothing
python tools/apply_patches.py CHECKOUT --only 1,2,5
python tools/apply_patches.py CHECKOUT --reverse    undo
python tools/apply_patches.py FORK --skip-missing   leave out files that the fork does not have

Needs only Python 3.7 or newer and git. The checkout need not be a git repository; its package may
have another name (fcos_core) or be in a subfolder. Exit status: 0 done (or nothing to do), 1
refused, with the checkout unchanged, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PATCHES = Path(__file__).resolve().parents[1] / "patches"
PACKAGE = "maskrcnn_benchmark"
_LANDMARKS = ("structures/boxlist_ops.py", "modeling/matcher.py")  # every fork has them
_HEADER = re.compile(rb"diff --git a/(\S+) b/(\S+)\n")
_APPLY = ("-c", "core.autocrlf=false", "-c", "apply.ignoreWhitespace=no")
_APPLY += ("apply", "--whitespace=nowarn")
# a checkout's own settings can name programs that git starts
_START_NOTHING = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")


class Refused(Exception):
    """A problem that the user has to solve; the checkout is unchanged."""


class WrongUsage(Exception):
    """Arguments that cannot be used."""


def git(folder: Path, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess:
    """Run git in a folder, with messages in English, and return the finished process."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env.update(LC_ALL="C", GIT_CEILING_DIRECTORIES=os.path.realpath(tempfile.gettempdir()))
    command = ["git", "-C", str(folder), *_START_NOTHING, *arguments]
    try:
        return subprocess.run(command, input=stdin, capture_output=True, env=env)
    except FileNotFoundError:
        raise WrongUsage("git is needed and was not found") from None


class Stage:
    """A copy of the files that patches change, outside of any repository, to try patches on.

    Args:
        root: folder that holds the package.
        package: the package's name in this checkout.
        folder: an empty folder for the copy.
        skip_missing: leave out the files of a patch that the checkout does not have.
    """

    def __init__(self, root: Path, package: str, folder: Path, skip_missing: bool = False) -> None:
        self.root, self.package, self.folder = root, package, folder
        self.skip_missing = skip_missing
        self.paths: set[str] = set()  # files of all patches read so far
        self.missing: list[str] = []  # files that were left out of the last patch

    def add(self, paths: list[str]) -> None:
        """Copy those files of the checkout that exist.

        Raises:
            Refused: one is a link, or in a linked folder, that leads out of the checkout.
        """
        for path in paths:
            place = (self.root / path).resolve()
            if self.root not in place.parents:
                raise Refused(f"{self.root / path} leads to {place}; nothing was changed")
            if path not in self.paths and (self.root / path).is_file():
                (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.root / path, self.folder / path)
            self.paths.add(path)

    def read(self, patch: Path) -> bytes:
        """Return a patch with this checkout's package name and line ends; copy its files."""
        self.missing = []
        text = patch.read_bytes()
        if self.package != PACKAGE:
            text = text.replace(PACKAGE.encode(), self.package.encode())
        parts = re.split(rb"^(?=diff --git )", text, flags=re.MULTILINE)[1:]
        kept = []
        for part in parts:
            old, new = (name.decode() for name in _HEADER.match(part).groups())
            self.add([old, new])
            if not (self.skip_missing and self._is_missing(old, part)):
                kept.append(self._line_ends(old, part))
        return b"".join(kept)

    def _is_missing(self, path: str, part: bytes) -> bool:
        missing = b"\n--- /dev/null\n" not in part and not (self.folder / path).is_file()
        if missing:
            self.missing.append(path)
        return missing

    def _line_ends(self, path: str, part: bytes) -> bytes:
        """Return the hunks of one file with the line ends of the file, LF or CRLF."""
        file = self.folder / path
        old = file.read_bytes() if file.is_file() else b""
        if old.count(b"\r\n") * 2 <= old.count(b"\n"):
            return part
        return re.sub(rb"^([ +-](?!-- |\+\+ ).*)$", rb"\1\r", part, flags=re.MULTILINE)

    def apply(self, patch: bytes, *options: str) -> str | None:
        """Apply a patch to the copy; return None, or git's message if it failed."""
        done = git(self.folder, *_APPLY, *options, stdin=patch)
        return None if done.returncode == 0 else done.stderr.decode(errors="replace")

    def fits(self, patch: bytes, *options: str) -> bool:
        """Return whether a patch would apply."""
        return self.apply(patch, "--check", *options) is None

    def why_not(self, patch: bytes, *options: str) -> list[str]:
        """Return one line per place where a patch does not apply."""
        with tempfile.TemporaryDirectory() as folder:
            trial = Stage(self.root, self.package, Path(folder) / "copy")
            shutil.copytree(self.folder, trial.folder)
            message = trial.apply(patch, "--reject", *options) or ""
        reasons = []
        for line in message.splitlines():
            hunk = re.match(r"error: patch failed: (.+):(\d+)$", line)
            file = re.match(r"error: (.+): (No such file or directory|already exists)", line)
            if hunk:
                reasons.append(f"{hunk[1]}:{hunk[2]} has other lines than the original there")
            elif file:
                missing = file[2].startswith("No such")
                reasons.append(f"{file[1]} {'is missing' if missing else 'exists already'}")
        return list(dict.fromkeys(reasons)) or [message.strip()]

    def write_back(self) -> None:
        """Copy the changes to the checkout; if that fails, restore its files."""
        before = {path: _content(self.root / path) for path in sorted(self.paths)}
        made: list[Path] = []
        try:
            for path, old in before.items():
                if _content(self.folder / path) == old:
                    continue
                target = self.root / path
                if not (self.folder / path).exists():
                    target.unlink()
                    continue
                for folder in reversed([p for p in target.parents if not p.exists()]):
                    folder.mkdir()
                    made.append(folder)
                shutil.copy(self.folder / path, target)
        except BaseException:  # including KeyboardInterrupt
            for path, old in before.items():
                _restore(self.root / path, old)
            for folder in reversed(made):
                folder.rmdir()
            raise


def _content(path: Path) -> tuple[bytes, int] | None:
    return (path.read_bytes(), path.stat().st_mode) if path.is_file() else None


def _restore(path: Path, old: tuple[bytes, int] | None) -> None:
    if old is None:
        if path.exists():
            path.unlink()
    elif _content(path) != old:
        path.write_bytes(old[0])
        path.chmod(old[1])


def find_package(checkout: Path) -> Path:
    """Return the folder of the package, recognised by files of the original.

    Raises:
        WrongUsage: there is no package, or more than one.
    """
    if not checkout.is_dir():
        raise WrongUsage(f"{checkout} is no folder")
    for depth in ("", "*/", "*/*/"):
        holds = [path.parents[1] for path in checkout.glob(depth + _LANDMARKS[0])]
        holds = [path for path in holds if (path / _LANDMARKS[1]).is_file()]
        if holds:
            break
    if len(holds) != 1:
        found = ", ".join(map(str, sorted(holds))) or "none"
        raise WrongUsage(
            f"expected one package with {' and '.join(_LANDMARKS)} in {checkout} or in a folder "
            f"of it, found {found}; name the folder of one checkout"
        )
    package = holds[0].resolve()
    if checkout.resolve() not in package.parents:
        raise WrongUsage(f"{holds[0]} leads out of the checkout, to {package}")
    return package


def dirty_files(stage: Stage) -> list[str]:
    """Return the tracked files that differ from the last commit by more than our patches.

    Raises:
        LookupError: the checkout is not under git.
    """
    top = git(stage.root, "rev-parse", "--show-toplevel").stdout.decode().rstrip("\n")
    if not top or not git(stage.root, "ls-files", stage.package).stdout:
        raise LookupError
    plain = _without_own_filters(Path(top))
    options = ("--porcelain", "-z", "--no-renames", "--untracked-files=no")
    status = git(Path(top), *plain, "status", *options, "--ignore-submodules=all")
    changed = [Path(top) / entry[3:] for entry in status.stdout.decode().split("\0") if entry]
    with tempfile.TemporaryDirectory() as folder:
        clean = Stage(stage.root, stage.package, Path(folder), skip_missing=True)
        for patch in reversed([clean.read(path) for path in list_patches(None)]):
            clean.apply(patch, "--reverse")  # does nothing where the patch is not applied
        dirty = []
        for file in changed:
            path = os.path.relpath(file, stage.root).replace(os.sep, "/")
            committed = git(
                Path(top), *plain, "cat-file", "--filters", f"HEAD:{file.relative_to(top)}"
            )
            after = _content(clean.folder / path) if path in clean.paths else None
            same = after is not None and committed.returncode == 0 and after[0] == committed.stdout
            if not same and not (path in clean.paths and after is None and committed.returncode):
                dirty.append(path)
    return dirty


def _without_own_filters(top: Path) -> list[str]:
    """Return git's options that turn off the filters, programs, which a checkout itself sets up."""
    found = git(top, "config", "--show-scope", "--name-only", "--get-regexp", r"^filter\.")
    options = []
    for line in found.stdout.decode(errors="replace").splitlines():
        scope, _, key = line.partition("\t")
        if scope in ("local", "worktree"):
            options += ["-c", f"{key}={'false' if key.endswith('.required') else ''}"]
    return options


def list_patches(only: str | None) -> list[Path]:
    """Return the patches in their order: all, or those with the numbers `only`, "1,2,5"."""
    series = {int(path.name[:4]): path for path in sorted(PATCHES.glob("[0-9]*.patch"))}
    if only is None:
        return list(series.values())
    wanted = [int(word) if word.strip().isdigit() else -1 for word in only.split(",")]
    if not set(wanted) <= set(series):
        known = ",".join(map(str, series))
        raise WrongUsage(f"--only takes numbers of {known} with commas between, got {only}")
    return [path for number, path in series.items() if number in wanted]


def try_patches(stage: Stage, patches: list[Path], reverse: bool) -> tuple[list[Path], list[Path]]:
    """Apply patches to the copy one by one (or undo them), and print the outcome of each.

    Returns:
        the patches that were applied (undone), and those that failed.
    """
    ahead, back = (("--reverse",), ()) if reverse else ((), ("--reverse",))
    changed, failed = [], []
    for path in reversed(patches) if reverse else patches:
        patch = stage.read(path)
        without = f", without {', '.join(stage.missing)} (not here)" if stage.missing else ""
        if stage.fits(patch, *back):
            print(f"{path.name}: {'not there' if reverse else 'already there'}{without}")
        elif stage.fits(patch, *ahead):
            stage.apply(patch, *ahead)
            changed.append(path)
            print(f"{path.name}: {'can be undone' if reverse else 'applies'}{without}")
        else:
            failed.append(path)
            reasons = stage.why_not(patch, *ahead)
            outcome = "cannot be undone" if reverse else "does not apply"
            print("\n  ".join([f"{path.name}: {outcome}:", *reasons]))
    return changed, failed


def run(args: argparse.Namespace) -> None:
    """Run the command.

    Args:
        args: see main().

    Raises:
        Refused, WrongUsage: with a message for the user.
    """
    patches = list_patches(args.only)
    package = find_package(args.checkout)
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(package.parent, package.name, Path(folder), args.skip_missing)
        changed, failed = try_patches(stage, patches, args.reverse)
        numbers = ",".join(str(int(path.name[:4])) for path in sorted(changed))
        if failed:
            hint = f"; without those that fail: --only {numbers}" if changed else ""
            raise Refused(f"nothing was changed{hint}")
        if args.check or not changed:
            print("nothing was changed")
            return
        _refuse_dirty(stage, args.force)
        stage.write_back()
    print(f"{'undone' if args.reverse else 'applied'}: {numbers}")


def _refuse_dirty(stage: Stage, force: bool) -> None:
    try:
        dirty = dirty_files(stage)
    except LookupError:
        print(f"{stage.root} is not under git: your own changes cannot be detected")
        return
    if dirty and not force:
        raise Refused(
            "the checkout has changes that are not committed; commit them, or add --force:\n  "
            + "\n  ".join(dirty)
            + "\nnothing was changed"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description="Apply our patches to a checkout")
    parser.add_argument("checkout", type=Path, help="folder of the original or of a fork")
    parser.add_argument("--check", action="store_true", help="only print what applies")
    parser.add_argument("--reverse", action="store_true", help="undo instead")
    parser.add_argument("--only", metavar="1,2,5", help="these patches instead of all")
    parser.add_argument(
        "--skip-missing", action="store_true", help="leave out files that the checkout lacks"
    )
    parser.add_argument("--force", action="store_true", help="ignore uncommitted changes")
    args = parser.parse_args()
    try:
        run(args)
    except (Refused, WrongUsage) as problem:
        print(f"{parser.prog}: {problem}", file=sys.stderr)
        return 1 if isinstance(problem, Refused) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
