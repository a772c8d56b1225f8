"""Hooks of MkDocs: the site is made of the pages of the repository, where they lie and as GitHub shows them."""

import pathlib
import posixpath
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).resolve().parents[2]
#: What the site holds beside its own pages. A page of these that mkdocs.yml does not list fails the build.
HELD = ("*.md", "docs/*.md", "docs/pictures/*", "benchmarks/*.md", "data_builders/*.md")
_FENCED = re.compile(r"^(```.*?^```$)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[([^\[\]]+)\]\(([^()\s]+)\)")
_REFERENCE = re.compile(r"\[([^\[\]]+)\]\[(\w+)\]")
_DEFINITION = re.compile(r"^\[(\w+)\]: (\S+)\n", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the repository, at their own paths, so that links between them hold."""
    for path in sorted(path for pattern in HELD for path in ROOT.glob(pattern)):
        source = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, source, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links to what is in the repository and not in the site, such as sources.

    They lead to ``repo_url``; where that is not set, their text stays. What is nowhere is left for MkDocs to refuse.
    """
    definitions = dict(_DEFINITION.findall(markdown))
    folder = posixpath.dirname(page.file.src_uri)

    def turned(text: str, target: str) -> str:
        path, _, anchor = target.partition("#")
        place = posixpath.normpath(posixpath.join(folder, path))
        outside = path and files.get_file_from_path(place) is None and (ROOT / place).exists()
        if not outside:
            return f"[{text}]({target})"
        if not config.repo_url:
            return text
        anchor = anchor and f"#{anchor}"
        return f"[{text}]({config.repo_url.rstrip('/')}/blob/HEAD/{place}{anchor})"

    def rewritten(text: str) -> str:
        text = _DEFINITION.sub("", text)
        text = _REFERENCE.sub(
            lambda found: (
                f"[{found[1]}]({definitions[found[2]]})" if found[2] in definitions else found[0]
            ),
            text,
        )
        return _LINK.sub(lambda found: turned(found[1], found[2]), text)

    parts = _FENCED.split(markdown)
    return "".join(part if at % 2 else rewritten(part) for at, part in enumerate(parts))
