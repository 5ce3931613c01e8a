"""What the site has beyond docs/: the README and two more files of the root. Links are the repository's own.

A link to a file that is no page and no picture of the site, such as a module, keeps its text only.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""File of the root -> page of the site."""
LINK = re.compile(r"\[(?P<text>[^][]+)\]\((?P<target>[^()\s#]*)(?P<anchor>#[^()\s]*)?\)")
MERMAID = re.compile(r"^```mermaid\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point each link to the page of the site that its file has become."""
    sources = {page: source for source, page in PAGES.items()}
    here = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    markdown = MERMAID.sub(r"```text\n\1```\n", markdown)  # the theme would fetch the program that draws it
    return LINK.sub(lambda link: site_link(link, here=here), markdown)


def site_link(link: re.Match[str], *, here: str) -> str:
    """A link or picture of the file ``here`` (its path in the repository) as the site has it."""
    target, anchor = link["target"], link["anchor"] or ""
    if not target or "://" in target or target.startswith("mailto:"):
        return link[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
    page = PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
    if page is None or not page.endswith((".md", ".png")):
        return link["text"]
    return f"[{link['text']}]({page}{anchor})"
