"""Docstrings as Markdown: formulas and columns stay as they stand, and fields are told by their comments."""

from __future__ import annotations

import re
from typing import Any

from griffe import Attribute, Class, Docstring, Extension, Object

COLUMNS = re.compile(r"\S {2,}\S")
COMMENT = re.compile(r"(?:^|\s)#\s+(.*)$")


class AsMarkdown(Extension):
    """Read by mkdocstrings, which parses the source and imports nothing."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)
        if isinstance(obj, Class) and obj.docstring and (told := fields_of(obj)):
            text = f"{obj.docstring.value}\n\nAttributes:\n{told}"
            obj.docstring = Docstring(text, lineno=obj.docstring.lineno, parent=obj)


def as_markdown(text: str) -> str:
    """Examples and what is set in columns, as code."""
    return "\n\n".join(map(_as_code, text.split("\n\n")))


def fields_of(cls: Class) -> str:
    """The fields of a dataclass with their comments, in the form of a section of a docstring."""
    if not any(str(decorator.value).startswith("dataclass") for decorator in cls.decorators):
        return ""
    fields = [
        member for member in cls.members.values() if isinstance(member, Attribute) and member.annotation
    ]
    own = [field for field in fields if "property" not in field.labels and not field.name.startswith("_")]
    return "\n".join(f"    {field.name}: {comment_of(field)}" for field in own)


def comment_of(field: Attribute) -> str:
    """The comment beside a field, or the one in the lines above it."""
    if field.lineno is None or field.endlineno is None:
        return ""
    lines = field.lines_collection[field.filepath]
    own = lines[field.lineno - 1 : field.endlineno]
    if beside := [found[1] for line in own if (found := COMMENT.search(line))]:
        return " ".join(beside)
    above: list[str] = []
    for line in reversed(lines[: field.lineno - 1]):
        if not line.strip().startswith("#"):
            break
        above.insert(0, line.strip("# \n"))
    return " ".join(above)


def _as_code(paragraph: str) -> str:
    if paragraph.startswith(">>>"):
        return f"```pycon\n{paragraph}\n```"
    lines = paragraph.splitlines()
    if not lines or lines[0].startswith("    ") or lines[0].endswith(":"):
        return paragraph  # a formula already, or a section such as Args
    if all(COLUMNS.search(line) or line.startswith("  ") for line in lines):
        return "\n".join(f"    {line}" for line in lines)
    return paragraph
