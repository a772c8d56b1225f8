"""The site of make docs has every page and every public name, known without building it."""

import importlib.util
import re

from started import ROOT

import piapdf_jax

SITE = ROOT / "docs" / "site"
API = sorted((SITE / "pages" / "api").glob("*.md"))


def test_every_page_is_in_the_navigation_once():
    text = (SITE / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"^ +- (?:[\w ]+: )?(\S+\.md)$", text.split("\nnav:\n")[1], re.MULTILINE)
    of_the_repository = [ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "README.md")]
    of_the_repository += [*(ROOT / "docs").glob("*.md"), *ROOT.glob("[!.]*/README.md")]
    there = [str(path.relative_to(ROOT)) for path in of_the_repository]
    there += [str(path.relative_to(SITE / "pages")) for path in (SITE / "pages").rglob("*.md")]
    assert sorted(listed) == sorted(there)


def test_every_public_name_is_on_the_page_of_the_api():
    text = (SITE / "pages" / "api" / "index.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^\| \[`(\w+)`\]\[([\w.]+)\]", text, re.MULTILINE))
    assert set(shown) == set(piapdf_jax.__all__)
    for name, target in shown.items():
        module, _, last = target.rpartition(".")
        assert getattr(importlib.import_module(module), last) is getattr(piapdf_jax, name)


def test_modules_of_the_api_are_there_and_on_one_page():
    modules = [m for p in API for m in re.findall(r"^::: (\S+)$", p.read_text(), re.MULTILINE)]
    assert len(set(modules)) == len(modules) > 15
    assert all(importlib.util.find_spec(module) for module in modules)
