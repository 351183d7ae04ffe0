r"""Go templates, as far as ``--format`` uses them: fields, pipelines, variables, if, with, range, Docker's functions.

    {{.Config.Env}}  {{json .}}  {{range $k, $v := .Labels}}{{$k}}={{$v}}{{"\n"}}{{end}}  {{index .RepoTags 0 | upper}}

Text becomes a tree (``template_syntax``) once, and is then evaluated for each row (``template_values``).

source   Go, text/template, package documentation; docker/cli, templates/templates.go (functions)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.cli.template_syntax import Action, Branch, Each, Node, Pipeline, Text, parse
from builder.cli.template_values import Scope, bad, evaluate, truth, written


class Template:
    """A template, read; ``render`` fills it in.

    raises   UsageError ``bad-template``
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._nodes = parse(text)

    def render(self, value: Any) -> str:
        """The text for *value*, of dictionaries, lists, text, numbers and truths.

        raises   UsageError ``bad-template`` where the template asks for what is not there
        """
        return "".join(_all(self._nodes, Scope(self._text, value)))


def _all(nodes: tuple[Node, ...], scope: Scope) -> list[str]:
    return [_one(node, scope) for node in nodes]


def _one(node: Node, scope: Scope) -> str:
    match node:
        case Text(text=text):
            return text
        case Action(pipeline=pipeline):
            value = evaluate(pipeline, scope)
            return "" if pipeline.variables else written(value)
        case Branch():
            return _branch(node, scope)
        case Each():
            return _each(node, scope)


def _branch(node: Branch, scope: Scope) -> str:
    inner = scope.inner()
    value = evaluate(node.pipeline, inner)
    if not truth(value):
        return "".join(_all(node.otherwise, scope.inner()))
    return "".join(_all(node.then, inner.at(value) if node.enters else inner))


def _each(node: Each, scope: Scope) -> str:
    plain = Pipeline(node.pipeline.commands)
    pairs = _pairs(evaluate(plain, scope), scope)
    if not pairs:
        return "".join(_all(node.otherwise, scope.inner()))
    parts: list[str] = []
    for key, value in pairs:
        inner = scope.inner().at(value)
        names = node.pipeline.variables
        inner.names.update(zip(names, (key, value) if len(names) == 2 else (value,), strict=False))
        parts += _all(node.body, inner)
    return "".join(parts)


def _pairs(value: Any, scope: Scope) -> list[tuple[Any, Any]]:
    if value is None:
        return []
    if isinstance(value, Mapping):
        return sorted(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    raise bad(scope.text, f"range cannot go through {written(value)}")
