"""How the API page reads docstrings: examples and equations, which stand there as plain text, keep their lines."""

import re

import griffe

_EXAMPLE = re.compile(r"^>>> .*(?:\n\S.*)*", re.MULTILINE)


def with_lines(text: str) -> str:
    """Returns the text with a hard break around lines that are indented deeper than those before them."""
    lines = text.split("\n")
    for at in range(1, len(lines)):
        before, line = lines[at - 1], lines[at]
        wanted = len(before) - len(before.lstrip())
        if re.match(r"\d+\. ", before.lstrip()):
            wanted += 4
        deeper = len(line) - len(line.lstrip()) - wanted
        if before.strip() and line.strip() and (deeper >= 4 or deeper <= -4):
            lines[at - 1] = before.rstrip() + "  "
    return "\n".join(lines)


class Docstrings(griffe.Extension):
    """Marks what Markdown would run together."""

    def on_instance(self, *, obj: griffe.Object, **_) -> None:
        """Changes the docstring of a module, class or function that was read."""
        if obj.docstring is None:
            return
        text = obj.docstring.value
        if obj.is_module:
            text = with_lines(text)
        obj.docstring.value = _EXAMPLE.sub(
            lambda found: f"```pycon\n{re.sub(r' +$', '', found[0], flags=re.M)}\n```", text
        )
