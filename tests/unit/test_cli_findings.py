"""What ``--check`` prints, and how ``--call`` is read."""

from __future__ import annotations

import json

import pytest

from builder.cli import findings
from builder.cli.calling import Call, call_of
from builder.cli.findings import Report, drawn, excerpt
from builder.cli.options import Parsed
from builder.dockerfile.lint import RULES
from builder.dockerfile.lint_rules import DESCRIPTIONS
from builder.dockerfile.parse import parse
from builder.dockerfile.source import SourceFile, Span
from builder.engine.calls import File
from builder.errors import DockerfileError, UsageError
from builder.plan.check import Checked, check
from builder.plan.steps import Options

TEXT = b"FROM scratch\nCMD run it\n"


def report(text: bytes = TEXT, path: str = "app/Dockerfile") -> Report:
    found = check(parse(text, "Dockerfile"), Options(), {})
    return Report(file=File(name="Dockerfile", text=text), checked=found, path=path)


def test_every_rule_is_described() -> None:
    assert set(DESCRIPTIONS) == set(RULES)


def test_text_is_as_buildx_has_it() -> None:
    assert drawn(report(), "text") == (
        "Check complete, 1 warning has been found!\n"
        "\n"
        "WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/json-args-recommended/\n"
        "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals\n"
        "Dockerfile:2\n"
        "--------------------\n"
        "   1 |     FROM scratch\n"
        "   2 | >>> CMD run it\n"
        "   3 |\n"
        "--------------------\n"
    )


def test_a_clean_file_is_said_to_be_clean_and_a_broken_one_is_not() -> None:
    assert drawn(report(b"FROM scratch\n"), "text") == "Check complete, no warnings found.\n"
    assert drawn(report(b"FROM scratch\nCOPY --from=$A b /\n"), "text") == ""


@pytest.mark.parametrize(
    ("line", "end", "shown"),
    [(1, 1, [1, 2, 3]), (4, 4, [2, 3, 4, 5, 6]), (7, 7, [5, 6, 7]), (3, 5, [2, 3, 4, 5, 6]), (9, 9, [])],
)
def test_an_excerpt_has_two_lines_on_each_side_or_one_of_a_longer_place(line: int, end: int, shown: list[int]) -> None:
    span = Span(SourceFile("Dockerfile", ()), line, 0, end, 0)
    lines = excerpt([f"line {number}" for number in range(1, 8)], "Dockerfile", span)
    assert [int(text.split("|")[0]) for text in lines[2:-1]] == shown


def test_an_excerpt_steers_no_terminal() -> None:
    assert excerpt(["\x1b[31mRUN"], "D", Span(SourceFile("D", ()), 1, 0, 1, 0))[2] == "   1 | >>> RUN"


def test_json_is_buildkit_s() -> None:
    found = json.loads(drawn(report(), "json"))
    assert found["warnings"][0]["ruleName"] == "JSONArgsRecommended"
    assert found["warnings"][0]["location"] == {"ranges": [{"start": {"line": 2}, "end": {"line": 2}}]}
    assert found["sources"] == [
        {"filename": "Dockerfile", "data": "RlJPTSBzY3JhdGNoCkNNRCBydW4gaXQK", "language": "Dockerfile"}
    ]
    assert "buildError" not in found


def test_json_of_a_broken_file_has_the_error_and_its_place() -> None:
    found = json.loads(drawn(report(b"FROM scratch\nCOPY --from=$A b /\n"), "json"))
    assert found["buildError"]["location"] == {"ranges": [{"start": {"line": 2}, "end": {"line": 2}}]}
    assert found["buildError"]["message"].startswith("variable expansion is not supported for --from")


def test_sarif_names_rules_places_and_mistakes() -> None:
    (run,) = json.loads(drawn(report(b"FROM scratch\nCMD run it\nLABEL a=${\n", "a b/Dockerfile"), "sarif"))["runs"]
    warning, error = run["results"]
    place = warning["locations"][0]["physicalLocation"]
    assert (warning["ruleId"], warning["ruleIndex"], warning["level"]) == ("JSONArgsRecommended", 0, "warning")
    assert place["artifactLocation"]["uri"] == "a%20b/Dockerfile"
    assert place["region"] == {"startLine": 2, "startColumn": 1, "endLine": 2, "endColumn": 11}
    assert (error["ruleId"], error["level"]) == ("bad-substitution", "error")
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["JSONArgsRecommended"]


def test_annotations_escape_what_their_syntax_needs() -> None:
    mistake = DockerfileError("100%\nwrong", code="x", hint="a, b: c")
    found = drawn(Report(file=None, checked=Checked(error=mistake), path="a,b:c/D"), "github")
    assert found == "::error file=a%2Cb%3Ac/D,title=x::100%25%0Awrong (hint: a, b: c)\n"


def test_a_violation_of_the_rules_is_told_once() -> None:
    found = drawn(report(b"# check=error=true\nFROM scratch\nCMD run it\n"), "github")
    assert found.count("::") == 2
    assert found.startswith("::warning file=app/Dockerfile,title=JSONArgsRecommended,line=3,endLine=3::")


def parsed(call: str = "", check: bool = False, **lists: tuple[str, ...]) -> Parsed:
    given = ({"call": (call,)} if call else {}) | {name.replace("_", "-"): value for name, value in lists.items()}
    return Parsed(command="build", flags={"check": True} if check else {}, lists=given)


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (parsed(), None),
        (parsed("build"), None),
        (parsed("check"), Call(method="check")),
        (parsed("lint"), Call(method="check")),
        (parsed(check=True), Call(method="check")),
        (parsed("check,format=json", check=True), Call(method="check", format="json")),
        (parsed("format=json,targets"), Call(method="targets", format="json")),
        (parsed("check,ignorestatus=true"), Call(method="check", ignore_status=True)),
    ],
)
def test_a_call_is_read_as_buildx_reads_it(words: Parsed, call: Call | None) -> None:
    assert call_of(words) == call


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (parsed("outlines"), "--call: there is no method 'outlines'"),
        (parsed("outline,format=sarif"), "--call outline: there is no format 'sarif'"),
        (parsed("outline,targets"), "--call 'outline,targets' names two methods"),
        (parsed("check,ignorestatus=maybe"), "--call 'check,ignorestatus=maybe': ignorestatus is true or false"),
        (parsed("check,colour=red"), "--call 'check,colour=red': there is no 'colour'"),
        (parsed("outline", check=True), "--check and --call=outline cannot be used together"),
        (parsed("check", metadata_file=("x",)), "--metadata-file tells of an image, and --call makes none"),
    ],
)
def test_a_call_that_says_nothing_sensible_is_refused(words: Parsed, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        call_of(words)
    assert caught.value.message == message


def test_all_formats_end_in_a_line() -> None:
    for wanted in ("text", "json", "sarif", "github"):
        assert findings.drawn(report(), wanted).endswith("\n")
