"""Go templates, as ``--format`` uses them; each expectation is what docker prints."""

from __future__ import annotations

from typing import Any

import pytest

from builder.cli.template import Template
from builder.cli.template_values import Open
from builder.errors import UsageError

VALUE: dict[str, Any] = {
    "ID": "abc",
    "Zero": 0,
    "Yes": True,
    "Nothing": None,
    "Tags": ["x:1", "y:2"],
    "Empty": [],
    "Labels": Open(b="2", a="1"),
    "Config": {"Env": ["A=1", "B=2"], "Cmd": None},
}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain", "plain"),
        ("{{.ID}}-{{.ID}}", "abc-abc"),
        ("{{ .Config.Env }}", "[A=1 B=2]"),
        ("{{.Labels}} {{.Yes}} {{.Nothing}}", "map[a:1 b:2] true <nil>"),
        ("{{json .Config}}", '{"Env":["A=1","B=2"],"Cmd":null}'),
        ("{{.Config | json}}", '{"Env":["A=1","B=2"],"Cmd":null}'),
        ("{{range .Tags}}[{{.}}]{{end}}", "[x:1][y:2]"),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range $i, $tag := .Tags}}{{$i}}={{$tag}} {{end}}", "0=x:1 1=y:2 "),
        ("{{range $k, $v := .Labels}}{{$k}}{{$v}}{{end}}", "a1b2"),
        ("{{if .Zero}}a{{else if .ID}}b{{else}}c{{end}}", "b"),
        ("{{if not .Zero}}a{{end}}", "a"),
        ("{{with .Config}}{{.Cmd}}{{$.ID}}{{end}}", "<nil>abc"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{end}}{{$x}}", "1"),
        ('{{index .Tags 1}} {{index .Labels `a`}} {{index .Labels "none"}}.', "y:2 1 ."),
        ("{{(index .Tags 0) | upper}}", "X:1"),
        ("{{len .Tags}}{{len .Nothing}}", "20"),
        ('{{join .Tags ", "}}', "x:1, y:2"),
        ('{{(split .ID "b")}}', "[a c]"),
        ("{{println .ID}}", "abc\n"),
        ('{{printf "%-5s|%02d" .ID 7}}', "abc  |07"),
        ("{{truncate .ID 2}}{{pad .ID 1 2}}.", "ab abc  ."),
        ("{{eq .ID `abc`}} {{ne 1 2}} {{lt 1 2}} {{and .ID .Zero}} {{or .Zero .ID}}", "true true true 0 abc"),
        ("a {{- .ID -}} b", "aabcb"),
        ("{{/* a comment */}}x", "x"),
        ("{{.Labels.none}}", "<no value>"),
        (
            "{{.}}",
            "map[Config:map[Cmd:<nil> Env:[A=1 B=2]] Empty:[] ID:abc Labels:map[a:1 b:2] Nothing:<nil>"
            " Tags:[x:1 y:2] Yes:true Zero:0]",
        ),
    ],
)
def test_a_template_gives(text: str, wanted: str) -> None:
    assert Template(text).render(VALUE) == wanted


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("{{.Idd}}", "template '{{.Idd}}': there is no field .Idd", "did you mean .ID?"),
        ("{{.ID", "template '{{.ID': an action {{ is not closed by }}", None),
        ("{{if .ID}}", "template '{{if .ID}}': {{if}} has no {{end}}", None),
        ("{{end}}", "template '{{end}}': unexpected {{end}}", None),
        ("{{}}", "template '{{}}': a value is missing in {{}}", None),
        ("{{$x}}", "template '{{$x}}': undefined variable $x", None),
        ("{{.ID.More}}", "template '{{.ID.More}}': abc has no field .More", None),
        ("{{.Nothing.More}}", "template '{{.Nothing.More}}': there is nothing that could have a field .More", None),
        ("{{.ID 1}}", "template '{{.ID 1}}': arguments are given to what is no function", None),
        ("{{index .Tags 9}}", "template '{{index .Tags 9}}': error calling index: index out of range: 9", None),
        ("{{range .ID}}{{end}}", "template '{{range .ID}}{{end}}': range cannot go through abc", None),
        ("{{(.ID}}", "template '{{(.ID}}': ( is not closed in {{(.ID}}", None),
        ("{{~}}", "template '{{~}}': unexpected '~' in {{~}}", None),
    ],
)
def test_what_is_wrong_with_a_template_is_told(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(UsageError) as found:
        Template(text).render(VALUE)
    assert (found.value.code, found.value.message, found.value.hint) == ("bad-template", message, hint)


def test_an_unknown_function_is_told_with_those_there_are() -> None:
    with pytest.raises(UsageError) as found:
        Template("{{shout .ID}}").render(VALUE)
    assert found.value.message == "template '{{shout .ID}}': function 'shout' not defined"
    assert found.value.hint is not None
    assert found.value.hint.startswith("known: and, eq, ")


def test_nesting_ends() -> None:
    deep = "{{if .ID}}" * 1000 + "{{end}}" * 1000
    with pytest.raises(UsageError, match="nested too deeply"):
        Template(deep)
    with pytest.raises(UsageError, match="nested too deeply"):
        Template("{{" + "(" * 1000 + ".ID" + ")" * 1000 + "}}")
