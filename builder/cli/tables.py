"""Rows of a listing: as Docker's table, as JSON, through a template, or their names alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from builder.cli.options import Option, Parsed
from builder.cli.text import harmless, width
from builder.errors import UsageError

Row = Mapping[str, object]
"""A row's fields, by the names that templates use; text as the table shows it, numbers and truths as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """How rows are shown.

    columns   the table's: (heading, field)
    headings  of fields that are in no column, for ``--format 'table …'``
    name      the field that ``--quiet`` shows
    """

    columns: tuple[tuple[str, str], ...]
    name: str
    headings: Mapping[str, str]


OPTIONS = (
    Option(
        name="format",
        metavar="TEMPLATE",
        summary="table, json, a template as in '{{.ID}} {{.Size}}', or one that begins with table",
    ),
    Option(name="json", kind="flag", summary="Print one JSON array"),
    Option(name="no-trunc", kind="flag", summary="Cut nothing short"),
)
QUIET = Option(name="quiet", short="q", kind="flag", summary="Show nothing but ids")


def listed(listing: Listing, rows: Sequence[Row], parsed: Parsed) -> str:
    """*rows* as the options of *parsed* ask for them.

    raises   UsageError ``bad-template``
    """
    wanted = parsed.value("format")
    if parsed.flag("json"):
        if wanted:
            raise UsageError("--json and --format cannot be used together", code="invalid-value")
        return as_json(rows)
    if wanted == "json":
        return "".join(f"{_json(row)}\n" for row in rows)
    if wanted and wanted != "table":
        return _formatted(listing, rows, wanted)
    if parsed.flag("quiet"):
        return "".join(f"{row[listing.name]}\n" for row in rows)
    return table(
        [heading for heading, _ in listing.columns], ([row[field] for _, field in listing.columns] for row in rows)
    )


def as_json(rows: Sequence[Row]) -> str:
    """One JSON array, an object on each line."""
    return "[" + ",".join(f"\n  {_json(row)}" for row in rows) + ("\n]\n" if rows else "]\n")


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns three blanks apart, as Docker's."""
    lines = [list(headings), *([harmless(str(cell)) for cell in row] for row in rows)]
    widths = [max(width(line[n]) for line in lines) for n in range(len(headings))]
    return "".join(
        "   ".join(cell + " " * (widths[n] - width(cell)) for n, cell in enumerate(line)).rstrip() + "\n"
        for line in lines
    )


def _json(value: object) -> str:
    # Only what is asked for it pays for it.
    import json

    return json.dumps(value, ensure_ascii=False)


def _formatted(listing: Listing, rows: Sequence[Row], wanted: str) -> str:
    from builder.cli.template import Template

    directive, _, rest = wanted.partition(" ")
    tabular = directive == "table" and rest.strip()
    # docker/cli, cli/command/formatter/formatter.go, preFormat: \t and \n may be written as two characters
    text = (rest if tabular else wanted).strip().replace("\\t", "\t").replace("\\n", "\n")
    template = Template(text)
    if not tabular:
        return "".join(template.render(row) + "\n" for row in rows)
    names = {field: heading for heading, field in listing.columns} | dict(listing.headings)
    if rows:
        names |= {field: field.upper() for field in rows[0] if field not in names}
    lines = [template.render(names), *(template.render(row) for row in rows)]
    cells = [line.split("\t") for line in lines]
    count = max(len(line) for line in cells)
    return table(*_padded(cells, count))


def _padded(cells: list[list[str]], count: int) -> tuple[list[str], list[list[str]]]:
    whole = [line + [""] * (count - len(line)) for line in cells]
    return whole[0], whole[1:]
