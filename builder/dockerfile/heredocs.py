"""Here-documents of RUN, COPY and ADD: the markers in a line, and the lines that follow it.

Source: BuildKit's ``parser.go`` (``heredocsFromLine``, ``heredocFromMatch``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from builder.dockerfile.instructions import Heredoc
from builder.dockerfile.lines import Lines, LogicalLine
from builder.dockerfile.source import Span
from builder.dockerfile.words import examine
from builder.errors import DockerfileError

_MARKER = re.compile(r"([0-9]*)<<(-?)[\t\n\f\r ]*([^<]*)\Z")
_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)
_MAX_FD = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Marker:
    """``3<<-"EOF"`` taken apart."""

    name: str
    chomp: bool
    quoted: bool
    fd: int


def parse_marker(word: str) -> Marker | None:
    """What a word says if it is a here-document's marker.

    raises  DockerfileError if its quotes do not end
    """
    found = _MARKER.match(word)
    if not found or not found[3]:
        return None
    # Markers are always read with the backslash as escape character, whatever the file's own is.
    bare = examine(found[3], {}, skip_unset=True).words
    if len(bare) != 1:
        return None
    quoted = examine(found[3], {}, skip_unset=True, raw_quotes=True).words
    if len(quoted) != 1:
        return None
    # Quotes that are in the one and not in the other quote the name, and so the content.
    return Marker(bare[0], found[2] == "-", _quotes(bare[0]) != _quotes(quoted[0]), _number(found[1]))


def is_marker(word: str) -> Marker | None:
    """``parse_marker``, for a word that may be anything: None if it cannot be read."""
    if "<<" not in word:
        return None
    try:
        return parse_marker(word)
    except DockerfileError:
        return None


def _quotes(text: str) -> int:
    return text.count("'") + text.count('"')


def _number(digits: str) -> int:
    if len(digits) > 20:
        return _MAX_FD
    return min(int(digits or "0"), _MAX_FD)


def read_heredocs(line: LogicalLine, lines: Lines, *, text_only: bool) -> tuple[Heredoc, ...]:
    """The here-documents that *line* announces, taken from the lines after it.

    text_only  the content goes to a command: it must be UTF-8 and hold no NUL
    raises     DockerfileError ``unterminated-heredoc``, ``bad-substitution``, ``invalid-utf8``, ``nul-byte``
    """
    if "<<" not in line.text:
        return ()
    try:
        words = examine(line.text, {}, raw_quotes=True, raw_escapes=True, skip_unset=True).words
    except DockerfileError:
        # BuildKit takes a line whose quotes do not end to have no here-document.
        return ()
    found: list[Heredoc] = []
    at = 0
    for word in words:
        if "<<" not in word:
            continue
        begin = line.text.find(word, at)
        span = line.span(begin, begin + len(word)) if begin >= 0 else line.span(0, len(line.text))
        at = max(at, begin + len(word))
        try:
            marker = parse_marker(word)
        except DockerfileError as error:
            raise DockerfileError(error.message, code=error.code, where=span) from None
        if marker:
            found.append(_read(marker, span, lines, text_only))
    return tuple(found)


def _read(marker: Marker, span: Span, lines: Lines, text_only: bool) -> Heredoc:
    begin = lines.next
    while lines.next < len(lines.raw):
        text = lines.raw[lines.next].rstrip("\r")
        lines.next += 1
        if (text.lstrip("\t") if marker.chomp else text) == marker.name:
            break
    else:
        raise DockerfileError(
            "unterminated heredoc",
            code="unterminated-heredoc",
            where=span,
            hint=f"a line that holds {marker.name} and nothing else ends it",
        )
    raw = "".join(map(lines.with_end, range(begin, lines.next - 1)))
    if text_only:
        _check_text(raw, span)
    return Heredoc(
        name=marker.name,
        content=_LEADING_TABS.sub("", raw) if marker.chomp else raw,
        chomp=marker.chomp,
        quoted=marker.quoted,
        span=span,
        fd=marker.fd,
        raw=raw,
    )


def _check_text(raw: str, span: Span) -> None:
    if "\0" in raw:
        raise DockerfileError("the heredoc holds a NUL byte", code="nul-byte", where=span)
    if not raw.isascii() and any("\udc80" <= c <= "\udcff" for c in raw):
        raise DockerfileError(
            "the heredoc holds bytes that are not UTF-8",
            code="invalid-utf8",
            where=span,
            hint="a script may say them with escapes (printf '\\351')",
        )


def named(heredocs: tuple[Heredoc, ...], marker: Marker, span: Span) -> Heredoc:
    """The here-document that a source word of COPY or ADD means: the last of that name, or else an empty one."""
    for heredoc in reversed(heredocs):
        if heredoc.name == marker.name:
            content = _LEADING_TABS.sub("", heredoc.raw) if marker.chomp else heredoc.raw
            return replace(heredoc, content=content, chomp=marker.chomp, quoted=marker.quoted, span=span)
    return Heredoc(name=marker.name, content="", chomp=marker.chomp, quoted=marker.quoted, span=span)
