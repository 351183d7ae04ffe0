"""``--chmod``: octal, or symbolic as chmod(1) has it.

source   BuildKit, frontend/dockerfile/dockerfile2llb/convert_copy.go; tonistiigi/dchapes-mode, mode.go, which is BSD's
         setmode(3), and whose rules (``X`` looks at the mode before any change) are kept
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass

from builder.dockerfile.source import Span
from builder.errors import DockerfileError

_SET_IDS = 0o6000
_STICKY = 0o1000
_ALL = _SET_IDS | 0o777
_WHO = {"a": _ALL, "u": stat.S_ISUID | 0o700, "g": stat.S_ISGID | 0o070, "o": 0o007}
_SHIFT = {"u": 6, "g": 3, "o": 0}
_CLAUSE = re.compile(r"([augo]*)((?:[-+=][rstwXxugo]*)+)")


@dataclass(frozen=True, slots=True)
class _Change:
    """One operation. kind: ``+`` and ``-`` of ``bits``; ``X``, ``bits`` if executable; ``u`` ``g`` ``o``, copied bits.

    who   whose bits a copy changes: of ``u`` ``g`` ``o``
    how   of a copy: ``+`` ``-`` ``=``
    """

    kind: str
    bits: int = 0
    who: str = ""
    how: str = ""


@dataclass(frozen=True, slots=True)
class ModeChange:
    """What ``--chmod`` does to a mode.

    octal   the mode itself, or None if the change is symbolic
    """

    octal: int | None
    changes: tuple[_Change, ...] = ()

    @property
    def for_new_folders(self) -> int:
        """The mode of folders made on the way to the destination: permission bits of an octal mode, else 0755."""
        return 0o755 if self.octal is None else self.octal & 0o777

    def apply(self, mode: int) -> int:
        """The permission bits of what has *mode* (its type and old bits, as ``st_mode``)."""
        if self.octal is not None:
            return self.octal
        old = new = stat.S_IMODE(mode)
        for change in self.changes:
            if change.kind == "+":
                new |= change.bits
            elif change.kind == "-":
                new &= ~change.bits
            elif change.kind == "X":
                if old & 0o111 or stat.S_ISDIR(mode):
                    new |= change.bits
            else:
                new = _copied(new, change)
        return new


def _copied(mode: int, change: _Change) -> int:
    value = mode >> _SHIFT[change.kind] & 0o7
    for who in change.who:
        if change.how == "-":
            mode &= ~(value << _SHIFT[who])
        elif change.how == "=":
            mode &= ~(0o7 << _SHIFT[who])
        if change.how != "-":
            mode |= value << _SHIFT[who]
    return mode


def parse_mode(text: str, where: Span) -> ModeChange:
    """The change that *text* says.

    raises   DockerfileError, code ``invalid-chmod``
    """
    if re.fullmatch(r"[0-7]+", text) and int(text, 8) <= 0o7777:
        return ModeChange(int(text, 8))
    if text[:1].isdigit() or not text:
        raise DockerfileError(
            f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777",
            code="invalid-chmod",
            where=where,
        )
    changes: list[_Change] = []
    for clause in text.split(","):
        found = _CLAUSE.fullmatch(clause)
        if found is None:
            raise DockerfileError(
                f"invalid chmod parameter: '{text}': invalid syntax",
                code="invalid-chmod",
                where=where,
                hint="write it in octal, as 0755, or as chmod does, as u=rwX,go=rX",
            )
        changes += _clause(found[1], found[2])
    return ModeChange(None, tuple(changes))


def _clause(who_text: str, operations: str) -> list[_Change]:
    who = 0
    for char in who_text:
        who |= _WHO[char]
    changes: list[_Change] = []
    for operation in re.findall(r"[-+=][rstwXxugo]*", operations):
        changes += _operation(who, operation[0], operation[1:])
    return changes


def _operation(who: int, op: str, permissions: str) -> list[_Change]:
    """What one operator and the letters behind it do; ``who`` 0 is everybody."""
    changes: list[_Change] = []
    bits = executable = 0
    cleared = op != "="  # "=" takes all of *who* away first, and only once
    for char in (*permissions, ""):
        if char in ("u", "g", "o", ""):
            if bits or (char == "" and not cleared):
                if op == "=":
                    changes.append(_Change("-", who or _ALL))
                changes.append(_Change("-" if op == "-" else "+", bits & (who or ~0)))
                bits = 0
            cleared = True
            if executable:
                changes.append(_Change("X", executable & (who or ~0)))
                executable = 0
            if char:
                named = "".join(name for name in "ugo" if not who or who & 0o4 << _SHIFT[name])
                changes.append(_Change(char, who=named, how=op))
        elif char == "X":
            if op == "-":
                bits |= 0o111
            else:
                executable = 0o111
        elif char in ("s", "t"):
            # Of "other" alone these bits are ignored.
            if not who or who & ~0o007:
                bits |= _SET_IDS if char == "s" else _STICKY
                who |= _STICKY if char == "t" else 0
        else:
            bits |= {"r": 0o444, "w": 0o222, "x": 0o111}[char]
    return changes
