"""Elements: whatever data hold comes out as text."""

import ast
import json
import pathlib

import pytest
from page_parts import NASTY, read

from experiments import page
from experiments.page.markup import Markup, constant, join, numbers, tag


@pytest.mark.parametrize("name", NASTY)
def test_text_and_attributes_come_back_as_they_were(name):
    root = read(tag("td", name, tag("b", name), title=name, data_v=name).text)
    (cell,) = root.children
    assert cell.attributes == {"title": name, "data-v": name}
    assert cell.text == name + name
    assert [e.name for e in root.all()] == ["td", "b"]


def test_what_is_no_text_is_escaped_as_well():
    class Sly:
        def __str__(self):
            return "<b>"

    class SlyText(str):
        def __str__(self):
            return "<i>"

    assert tag("p", Sly(), SlyText("<u>")).text == "<p>&lt;b&gt;&lt;i&gt;</p>"
    assert join(None, 0, False).text == "0False"


def test_characters_that_no_page_has_are_replaced():
    assert tag("p", "a\x00b\x1b[31m\ud800\n").text == "<p>a\ufffdb\ufffd[31m\ufffd\n</p>"
    assert tag("p", "Zoë 表情").text == "<p>Zoë 表情</p>"


def test_attributes_that_are_not_there():
    assert tag("details", open=True, hidden=False, id=None, cls="x").text == (
        '<details open class="x"></details>'
    )
    assert tag("meta", charset="utf-8").text == '<meta charset="utf-8">'


@pytest.mark.parametrize("text", ["a</style>", "x<!--"])
def test_code_cannot_end_itself(text):
    with pytest.raises(ValueError, match="cannot hold"):
        constant("style", text)


def test_numbers_are_json_in_which_no_tag_begins():
    told = {"names": list(NASTY), "values": [1.5, None]}
    text = numbers(told, id='x"y').text
    assert text.count("<") == 2
    (script,) = read(text).children
    assert script.attributes == {"type": "application/json", "id": 'x"y'}
    assert json.loads(script.text) == told
    with pytest.raises(ValueError, match="JSON"):
        numbers([float("nan")], id="x")


def test_markup_is_made_in_one_place():
    """No other module can hand on text as markup."""
    folder = pathlib.Path(page.__file__).parent
    for path in sorted(folder.glob("*.py")):
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        names = [ast.unparse(call.func).rpartition(".")[2] for call in calls]
        constants = {
            ast.unparse(call.args[1])
            for call, name in zip(calls, names, strict=True)
            if name == "constant"
        }
        assert constants <= {"style.CSS", "style.SCRIPT"}, path.name
        assert (Markup.__name__ in names) == (path.name == "markup.py"), path.name
