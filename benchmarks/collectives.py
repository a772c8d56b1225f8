"""What a compiled program sends between devices, read from its HLO text."""

import math
import re
from typing import NamedTuple

#: Instructions that move data between devices.
KINDS = (
    *("all-reduce", "all-gather", "reduce-scatter", "all-to-all"),
    *("collective-permute", "collective-broadcast", "ragged-all-to-all"),
)
#: Result, kind and asynchronous form; a ``-done`` only waits for what its ``-start`` sends.
_INSTRUCTION = re.compile(rf"^\s*(?:ROOT )?%?[\w.-]+ = (.*?) ({'|'.join(KINDS)})(-start)?\(")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) .*\{$")
_BODY = re.compile(r"\bwhile\(.*\bbody=%?([\w.-]+)")
_ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,]*)\]")
_COMMENT = re.compile(r"/\*.*?\*/")


class Collective(NamedTuple):
    """One instruction.

    Attributes:
        kind: of ``KINDS``.
        bytes: of its result on one device; all members of a tuple together.
    """

    kind: str
    bytes: int


def collectives(text: str) -> list[Collective]:
    """Every collective of a compiled program, in the order of its text.

    Args:
        text: ``compiled.as_text()``.

    Returns:
        One entry an instruction, whatever number of arrays it carries.

    Raises:
        ValueError: for a collective inside a loop, whose number of turns the text need not tell.
    """
    bodies = set(_BODY.findall(text))
    found, computation = [], ""
    for line in text.splitlines():
        header = _COMPUTATION.match(line)
        if header:
            computation = header[1]
        match = _INSTRUCTION.match(_COMMENT.sub("", line))
        if not match:
            continue
        result, kind, start = match.groups()
        if computation in bodies:
            raise ValueError(f"{kind} in the loop {computation}: how often it runs is not known.")
        # An asynchronous all-reduce has the plain one's result; the others put their operand first.
        if start and kind != "all-reduce":
            result = _members(result)[1]
        found.append(Collective(kind, array_bytes(result)))
    return found


def array_bytes(shape: str) -> int:
    """Bytes of a shape as HLO writes it, such as ``(f32[8,3]{1,0}, pred[])``."""
    return sum(
        math.prod(map(int, filter(None, sides.split(",")))) * _bits(dtype) // 8
        for dtype, sides in _ARRAY.findall(shape)
    )


def _bits(dtype: str) -> int:
    """Of one value: the first number in its name; ``pred`` has a byte."""
    digits = re.search(r"\d+", dtype)
    return int(digits[0]) if digits else 8


def _members(shape: str) -> list[str]:
    """The members of a tuple's outermost level."""
    parts, depth = [""], 0
    for letter in shape[1:-1]:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
