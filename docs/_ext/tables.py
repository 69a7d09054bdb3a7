"""
What the reference says about the code, read from the code: Markdown, ready to be parsed.

Rule: nothing here repeats a number, a name or a sentence that stands in the library. It only puts
them into rows, so a table cannot drift from what it describes. No Sphinx in here: the tests call
these functions as well.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterable
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import diagrams
from msgspec import UNSET, Meta, UnsetType
from samples import EVENTS, FRAMES

from ws_isolation import closing, errors, events, session_core, settings
from ws_isolation.events.declaration import Value, data_fields, envelope_fields
from ws_isolation.keys import Identity

PLACE: Final = {
    "owner": Identity(None, "alice"),
    "id": "0192f0c2-0a0b-7c0d-8e0f-101112131415",
    "epoch": "q3J8vZ0kT1mYb7XwP4cR2A",
    "seq": 44,
    "prev": "0192f0c1-6f00-7b11-9a22-334455667788",
    "time": "2026-11-22T21:09:00.123456Z",
}
"""Where the examples stand in their stream."""


def first_paragraph(text: str | None, /) -> str:
    """
    Return the first paragraph of a docstring in one line.
    """
    return " ".join((inspect.cleandoc(text or "").split("\n\n")[0]).split())


def attribute_docs(kind: type, /) -> dict[str, str]:
    """
    Return the string below each annotated field in the source of *kind* and of its bases in the library.
    """
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not base.__module__.startswith("ws_isolation"):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        if not isinstance(definition, ast.ClassDef):
            continue
        for field, text in zip(definition.body, definition.body[1:], strict=False):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                    found[name] = " ".join(doc.split())
                case _:
                    pass
    return found


def table(header: Iterable[str], rows: Iterable[Iterable[str]], /) -> str:
    """
    Return a Markdown table.
    """
    titles = list(header)
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


# Errors


def _error_classes() -> list[type[errors.IsolationError]]:
    return [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.IsolationError)]


def _parents(kind: type) -> tuple[type, list[str]]:
    (parent,) = [base for base in kind.__bases__ if issubclass(base, (errors.IsolationError, Exception))][:1]
    return parent, [base.__name__ for base in kind.__bases__ if base.__module__ == "builtins" and base is not Exception]


def error_tree() -> str:
    """
    Return the tree of exceptions, with the builtin ones that they are as well.
    """
    kinds = _error_classes()

    def branch(kind: type, indent: str) -> Iterable[str]:
        children = [child for child in kinds if _parents(child)[0] is kind]
        for child in children:
            last = child is children[-1]
            builtin = _parents(child)[1]
            suffix = f" ({', '.join(builtin)})" if builtin else ""
            yield f"{indent}{'└── ' if last else '├── '}{child.__name__}{suffix}"
            yield from branch(child, indent + ("    " if last else "│   "))

    return "\n".join(["```text", errors.IsolationError.__name__, *branch(errors.IsolationError, ""), "```"]) + "\n"


def error_table() -> str:
    """
    Return each exception with the code that it closes a session with and what it says.
    """
    rows: list[list[str]] = []
    for kind in _error_classes():
        code = closing.CODES[kind.close_code]
        link = f"[{code.code} `{code.slug}`](close-codes.md#close-{code.code})"
        rows.append([f"{{py:exc}}`~ws_isolation.errors.{kind.__name__}`", link, first_paragraph(kind.__doc__)])
    return table(["error", "closes a session with", "when"], rows)


def error_details() -> str:
    """
    Return a place for each exception, which autodoc fills with its text and fields.
    """
    entries = [
        f".. autoexception:: ws_isolation.errors.{kind.__name__}()\n   :show-inheritance:" for kind in _error_classes()
    ]
    return "```{eval-rst}\n" + "\n\n".join(entries) + "\n```\n"


# Close codes


def close_codes() -> str:
    """
    Return the registry of close codes, grouped by what the client does next.
    """
    parts: list[str] = []
    titles = {
        "stop": "Stop: do not come back by yourself",
        "reauthenticate": "Reauthenticate: get a new credential, then come back",
        "resume": "Resume: come back at once, with jitter",
        "back_off": "Back off: wait `retry_after_ms`, then come back",
    }
    for action, title in titles.items():
        codes = [code for code in closing.CODES.values() if code.action == action]
        rows = [[f"[]{{#close-{code.code}}}{code.code}", f"`{code.slug}`", code.about] for code in codes]
        parts += [f"**{title}**", table(["code", "slug", "meaning"], rows)]
    return "\n\n".join(parts)


# Settings


def settings_table() -> str:
    """
    Return each setting with its default and its bounds.
    """
    bounds = {**settings._SECONDS, **settings._RATES, **settings._COUNTS, **settings._OPTIONAL}  # noqa: SLF001
    docs = attribute_docs(settings.Settings)
    rows: list[list[str]] = []
    for field in inspect.signature(settings.Settings).parameters.values():
        low_high = bounds.get(field.name)
        allowed = "" if low_high is None else f"{low_high[0]:,g} to {low_high[1]:,.10g}"
        default = f"{field.default:,}" if type(field.default) in {int, float} else repr(field.default)
        rows.append([f"`{field.name}`", default, allowed, docs[field.name]])
    return table(["setting", "default", "allowed", "what it is"], rows)


# The session core


def transitions() -> str:
    """
    Return the table of what a session does with each input in each state.
    """
    states = list(session_core.State)
    kinds: list[type] = []
    for _, kind in session_core.TRANSITIONS:
        if kind not in kinds:
            kinds.append(kind)
    ignored = session_core.SessionCore._ignored  # noqa: SLF001
    rows: list[list[str]] = []
    for kind in kinds:
        cells: list[str] = []
        for state in states:
            method = session_core.TRANSITIONS.get((state, kind))
            if method is None:
                cells.append("refused")
            elif method is ignored:
                cells.append("ignored")
            else:
                cells.append(f"`{method.__name__.lstrip('_')}`")
        rows.append([f"`{kind.__name__}`", first_paragraph(kind.__doc__), *cells])
    return table(["input", "what happened", *(f"in {state.value}" for state in states)], rows)


def session_states() -> str:
    """
    Return each change of a session's state, with the inputs that make it.
    """
    return table(["from", "to", "by"], diagrams.rows(diagrams.SESSION))


def way_in_states() -> str:
    """
    Return each change on the way in by ``ws.auth``, with the inputs that make it.
    """
    return table(["from", "to", "by"], diagrams.rows(diagrams.WAY_IN))


def effects() -> str:
    """
    Return what a session core asks its shell to do.
    """
    kinds: tuple[type, ...] = get_args(session_core.Effect)
    return table(["effect", "what the shell does"], [[f"`{k.__name__}`", first_paragraph(k.__doc__)] for k in kinds])


# Events


def _kind_of(annotation: object) -> tuple[object, dict[str, Any]]:
    """
    Return the plain type of a field, and what limits it.
    """
    limits: dict[str, Any] = {}
    while True:
        arguments = get_args(annotation)
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *marks = arguments
            for mark in marks:
                if isinstance(mark, Meta):
                    known = {name: getattr(mark, name) for name in ("pattern", "min_length", "max_length", "ge", "le")}
                    limits |= {name: value for name, value in known.items() if value is not None} | (mark.extra or {})
        elif origin in {Union, UnionType} and UnsetType in arguments:
            (annotation,) = [argument for argument in arguments if argument is not UnsetType]
        else:
            return annotation, limits


_JSON_NAMES: Final[dict[object, str]] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    Any: "any JSON",
}


def json_type(annotation: object, /) -> str:
    """
    Return how people call the JSON type that *annotation* stands for.
    """
    kind, limits = _kind_of(annotation)
    if limits.get("const") is True:
        return "`true`"
    origin = get_origin(kind)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in get_args(kind))
    if origin is tuple:
        return f"array of {json_type(get_args(kind)[0])}"
    if origin is dict:
        return "object"
    if isinstance(kind, type) and issubclass(kind, Value):
        return f"[{kind.__name__}](#value-{kind.__name__.lower()})"
    return _JSON_NAMES[kind]


def _rows(kind: type[Value], names: Iterable[str]) -> list[list[str]]:
    hints = get_type_hints(kind, include_extras=True)
    docs = attribute_docs(kind)
    required = {name for name, field in inspect.signature(kind).parameters.items() if field.default is field.empty}
    return [
        [f"**`{name}`**" if name in required else f"`{name}`", json_type(hints[name]), docs.get(name, "")]
        for name in names
    ]


def sealed(event: events.Event, /) -> events.Envelope:
    """
    Return *event* at the examples' place in the stream.
    """
    in_run = event.run_id is not UNSET
    return events.seal(event, **PLACE, run_seq=3 if event.durable and in_run else None)


def event_example(event: events.Event, /) -> str:
    """
    Return the frame of *event*, indented.
    """
    return "```json\n" + json.dumps(json.loads(sealed(event).text), indent=2, ensure_ascii=False) + "\n```\n"


def _delivery(kind: type[events.Event]) -> str:
    states = {event.durable for event in EVENTS[kind.type]}
    if states == {True}:
        durable = "Durable: it has a `seq` of its own."
    elif states == {False}:
        durable = "A delta: it has `after_seq`, and no place of its own."
    else:
        durable = "Durable with `done` or as a whole, else a delta that has `after_seq` in place of `seq`."
    return durable + (" It ends its run: `final` is `true`." if kind.final else "")


def event_reference() -> str:
    """
    Return one section for each event class: fields, class of delivery, examples.
    """
    parts: list[str] = []
    for name, kind in events.EVENT_CLASSES.items():
        beside = [
            field for field in envelope_fields(kind) if field not in {"run_id", "thread_id", "causation_id", "metadata"}
        ]
        parts += [
            f"(event-{name})=\n## `{name}`",
            f"`events.{kind.__name__}`. {first_paragraph(kind.__doc__)} {_delivery(kind)}",
            table(["member of `data`", "type", "meaning"], _rows(kind, data_fields(kind))),
        ]
        if beside:
            parts.append(table(["member beside `data`", "type", "meaning"], _rows(kind, beside)))
        parts += [event_example(event) for event in EVENTS[name]]
    return "\n\n".join(parts)


def event_values() -> str:
    """
    Return the values that stand inside events.
    """
    parts: list[str] = []
    for kind in (events.Problem, events.Usage):
        parts += [
            f"(value-{kind.__name__.lower()})=\n### `{kind.__name__}`",
            first_paragraph(kind.__doc__),
            table(["member", "type", "meaning"], _rows(kind, data_fields(kind))),
        ]
    return "\n\n".join(parts)


def event_table() -> str:
    """
    Return the events in short, for a first look.
    """
    rows = [
        [f"[`{name}`](#event-{name})", f"`events.{kind.__name__}`", first_paragraph(kind.__doc__)]
        for name, kind in events.EVENT_CLASSES.items()
    ]
    return table(["type", "class", "when"], rows)


# Control frames


def frame_reference() -> str:
    """
    Return an example of each control frame that a server sends.
    """
    parts: list[str] = []
    for frame in FRAMES:
        members = frame.members()
        parts += [
            f"**`{members['type']}`**: {first_paragraph(type(frame).__doc__)}",
            "```json\n" + json.dumps(members, ensure_ascii=False) + "\n```",
        ]
    return "\n\n".join(parts)


GENERATED: Final[dict[str, Callable[[], str]]] = {
    re.sub("_", "-", function.__name__): function
    for function in (
        error_tree,
        error_table,
        error_details,
        close_codes,
        settings_table,
        transitions,
        session_states,
        way_in_states,
        effects,
        event_table,
        event_reference,
        event_values,
        frame_reference,
    )
}
"""What a page can ask for, by the name that it uses."""
