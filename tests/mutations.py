"""Damage files in ways that repeat, and watch how a reader takes it; see test_mutations.py.

    python tests/mutations.py KIND FIRST COUNT

runs the trials FIRST, FIRST + 1, … of a kind (mutated_kinds.py) and prints what went wrong, then a
line of JSON: {"trials", "read", "refused", "peak_mb", "cpu_s"}. The damage of a trial depends on
SEED, the kind and the trial's number alone. The file of the last failed trial stays in its folder.
"""

import json
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from maskrcnn_benchmark.utils.process_memory import peak_memory_mb

SEED = 10
SECONDS = 20  # a trial takes milliseconds; the machine may be busy
NASTY_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
NASTY_WORDS = (
    *("nan", "inf", "-inf", "1e999", "1e-400", "-1", "0", "1_000", "٣", "0x10", "1e9", "9" * 400),
    *(
        "",
        "null",
        "None",
        "true",
        "True",
        "~",
        "[]",
        "{}",
        "()",
        '""',
        "'",
        '"',
        "[",
        "}",
        ",",
        ":",
    ),
    *("[" * 3000, "{" * 3000, "(" * 300, "-" * 200, "%00", "%2F", "../x", "\0", "\ufeff", "\u2028"),
    *("&a [*a]", "!!python/object/apply:os.system [x]", "!!int x", "<<: 1", "a" * 5000, "# ", "é"),
)


class Kind(NamedTuple):
    """One kind of file and its reader.

    Attributes:
        trials: of the slow run.
        name: of the file in its folder.
        content: as it is whole.
        mutate: damages content.
        read: reads the file at a path, into plain values that compare by ==.
        wrong: from (damaged content, value read, value of the whole file): what is wrong with the
            value, "" where it is right. Never asked of content that is not damaged.
    """

    trials: int
    name: str
    content: bytes
    mutate: Callable[[bytes, random.Random], bytes]
    read: Callable[[Path], Any]
    wrong: Callable[[bytes, Any, Any], str]


class Hang(BaseException):
    """A reader takes too long; no Exception, which readers turn into errors of their own."""


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """Damage a file as disks, transfers and strangers do, in one to three places."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        place = rng.randrange(len(content) + 1)
        end = min(place + rng.choice((1, 2, 4, 16, 200, 4096)), len(content))
        part = content[place:end]
        head, tail = content[:place], content[end:]
        match rng.randrange(9):
            case 0:  # cut short, as by a lost connection
                content = head
            case 1:  # one bit
                content = (
                    head + bytes([part[0] ^ 1 << rng.randrange(8)]) + part[1:] + tail
                    if (part)
                    else head
                )
            case 2:  # an extreme number in place of four bytes
                number = rng.choice(NASTY_NUMBERS).to_bytes(4, rng.choice(("big", "little")))
                content = head + number + content[place + 4 :]
            case 3:  # a block of zeros, as after a crash of the machine
                content = head + bytes(len(part)) + tail
            case 4:  # noise
                content = head + rng.randbytes(len(part)) + tail
            case 5:  # a block is missing
                content = head + tail
            case 6:  # a block comes twice
                content = head + part + part + tail
            case 7:  # something else comes in between
                content = head + rng.randbytes(rng.randrange(1, 9)) + part + tail
            case 8:  # a block of another place
                other = rng.randrange(len(content) + 1)
                content = head + content[other : other + len(part)] + tail
    return content


def mutate_text(content: bytes, rng: random.Random) -> bytes:
    """Damage a text file as hands and programs do, and now and then as disks do."""
    if rng.random() < 0.3:
        return mutate_bytes(content, rng)
    text = content.decode(errors="replace")
    for _ in range(rng.choice((1, 1, 2, 3))):
        lines = text.splitlines(keepends=True) or [""]
        words = list(re.finditer(r"[\w.+-]+|[^\w\s]", text)) or [re.search("", text)]
        word, row = rng.choice(words), rng.randrange(len(lines))
        match rng.randrange(6):
            case 0 | 1:
                text = text[: word.start()] + rng.choice(NASTY_WORDS) + text[word.end() :]
            case 2:
                text = text[: word.start()] + rng.choice(words)[0] + text[word.end() :]
            case 3:
                text = text[: word.start()] + rng.choice(NASTY_WORDS) + text[word.start() :]
            case 4:
                text = "".join(lines[:row] + lines[row + 1 :])
            case 5:
                lines.insert(rng.randrange(len(lines) + 1), lines[row])
                text = "".join(lines)
    return text.encode(errors="replace")


def run_trials(title: str, kind: Kind, folder: Path, first: int, count: int) -> tuple[dict, list]:
    """Run trials; each in a folder of its own, which stays where the trial fails.

    Returns:
        how many were "read" and "refused", and a line for each failure (ten at most).
    """
    original = kind.read(_write(kind, folder / "whole", kind.content))
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    for trial in range(first, first + count):
        content = kind.mutate(kind.content, random.Random(f"{SEED} {title} {trial}"))
        path = _write(kind, folder / f"trial{trial}", content)
        outcome, problem = _try(kind, path, content, original)
        outcomes[outcome] += 1
        if not problem:
            shutil.rmtree(path.parent)
            continue
        failures.append(f"{title}, seed {SEED}, trial {trial}: {problem} ({path})")
        if len(failures) == 10:
            break
    return dict(outcomes), failures


def _write(kind: Kind, folder: Path, content: bytes) -> Path:
    folder.mkdir()
    path = folder / kind.name
    path.write_bytes(content)
    return path


def _try(kind: Kind, path: Path, content: bytes, original: Any) -> tuple[str, str]:
    """Read one damaged file; return "read" or "refused", and what is wrong, "" if nothing is."""
    try:
        with _time_limit(SECONDS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = kind.read(path)
    except (ValueError, OSError) as error:
        if content == kind.content:
            return "refused", f"refused although it is whole: {error}"
        named = str(path) in str(error) or str(path.parent) in str(error)
        return "refused", "" if named else f"the message names no file: {error!r:.300}"
    except Hang:
        return "hung", f"not read within {SECONDS} s"
    except Exception as error:
        return "failed", f"{error!r:.300}"
    if value == original:
        return "read", ""
    if content == kind.content:
        return "read", "the whole file was read differently"
    return "read", kind.wrong(content, value, original)


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def end(*_: object) -> None:
        raise Hang

    previous = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def main() -> None:
    from mutated_kinds import KINDS

    title, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    began = time.process_time()
    folder = Path(tempfile.mkdtemp(prefix=f"mutations-{title}-"))
    outcomes, failures = run_trials(title, KINDS[title](), folder, first, count)
    for line in failures:
        print(line)
    if not failures:
        shutil.rmtree(folder)
    peak = peak_memory_mb()
    cpu = time.process_time() - began
    print(json.dumps({"trials": count, **outcomes, "peak_mb": round(peak), "cpu_s": round(cpu, 1)}))
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
