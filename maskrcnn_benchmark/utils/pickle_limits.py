"""Limits for pickles from strangers, checked on their opcodes before anything is built.

An unpickler that admits arrays and containers only runs no code, but nine bytes can still make it
take gigabytes (a memo index of 300,000,000), and a few hundred keep it busy for years (a key of
tuples, each of which holds the previous one twice).
"""

import pickletools
from dataclasses import dataclass
from typing import IO

MAX_STEPS = 1_000_000  # opcodes; a ResNet-50 of Detectron has 4,000, a detector in training 30,000
_FILLING = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")


@dataclass(eq=False)
class _Object:
    """What is on the unpickler's stack.

    Attributes:
        size: objects and characters in it, those that it holds several times counted each time.
    """

    size: int


def check_pickle(stream: IO[bytes], file_size: int) -> None:
    """Read a pickle up to its end and refuse it if it grows far beyond its file.

    Args:
        stream: at the start of the pickle. Its `read` should allocate no more than there is, as
            that of io.BytesIO and mmap.
        file_size: bytes; what is repeated by reference may come to this and MAX_STEPS.

    Raises:
        ValueError: it has too many opcodes, memo indices beyond their number, or repeats too much;
            or it is no pickle.
    """
    stack: list[_Object | None] = []  # None: a mark
    memo: dict[int, _Object] = {}
    repeated = 0
    for step, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if step > MAX_STEPS:
            raise ValueError(f"it has more than {MAX_STEPS} opcodes, which no weights need")
        if "PUT" in opcode.name and argument > step:
            raise ValueError(f"its opcode {step} wants a memo of {argument} entries")
        taken = _take(stack, opcode)
        if opcode.name in _FILLING:
            container, *contents = taken
            container.size += sum(item.size for item in contents)
            stack.append(container)
        elif "PUT" in opcode.name or opcode.name == "MEMOIZE":
            stack += taken
            memo[len(memo) if argument is None else argument] = stack[-1]
        elif "GET" in opcode.name or opcode.name == "DUP":
            stack += taken
            stack.append(memo[argument] if "GET" in opcode.name else stack[-1])
            repeated += stack[-1].size
            if repeated > file_size + MAX_STEPS:
                raise ValueError(f"its {file_size} bytes stand for {repeated} objects and more")
        elif opcode.name == "MARK":
            stack.append(None)
        elif opcode.stack_after:
            text = len(argument) if isinstance(argument, (str, bytes, bytearray)) else 0
            stack.append(_Object(1 + text + sum(item.size for item in taken)))


def _take(stack: list[_Object | None], opcode: pickletools.OpcodeInfo) -> list[_Object]:
    """Take what an opcode works on from the stack: a number of objects, or those above a mark."""
    before = opcode.stack_before
    taken: list[_Object] = []
    if pickletools.markobject in before:
        while (item := stack.pop()) is not None:
            taken.append(item)
        before = before[: before.index(pickletools.markobject)]
    for _ in before:
        taken.append(stack.pop())
    return taken[::-1]
