"""The pages: links work in the repository and on the site, the reference is the schema's, messages are the code's."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from markdown.extensions.toc import slugify
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

from orchestrator.spec.json_schema import sweep_schema

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "site" / "sweep_reference.py"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\((?P<target>[^()\s#]*)(?:#(?P<anchor>[^()\s]*))?\)")


def text_of(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors_of(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", text_of(page), flags=re.MULTILINE)
    return {slugify(heading.replace("`", ""), "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for link in LINK.finditer(text_of(page)):
        if "://" in link["target"]:
            continue
        file = (page.parent / link["target"]).resolve() if link["target"] else page
        is_there = file.exists() and (not link["anchor"] or link["anchor"] in anchors_of(file))
        broken += [] if is_there else [link[0]]
    assert broken == []


def copy_of_pages(folder: Path) -> Path:
    for page in (*ROOT.glob("*.md"), ROOT / "mkdocs.yml"):
        shutil.copy(page, folder)
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("gpu"))
    return folder


def build_site(folder: Path) -> Path:
    config = load_config(str(folder / "mkdocs.yml"), strict=True, site_dir=str(folder / "site"))
    build(config)
    return folder / "site"


def test_the_site_is_built_with_every_page_and_its_links_stay_on_it(tmp_path: Path) -> None:
    site = build_site(copy_of_pages(tmp_path))
    names = {page.stem for page in (ROOT / "docs").glob("*.md")} | {"index", "contributing", "changelog"}
    assert names <= {page.stem for page in site.glob("*.html")}
    start = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="architecture.html#names"' in start
    assert "recipe.py</code>" in start
    assert not re.search(r'(?:src|href)="[^"]*(?:\.py|\.ipynb|\.md|\.yaml)"', start)
    assert 'href="index.html#ten-words"' in (site / "architecture.html").read_text(encoding="utf-8")
    assert not re.search(r'<(?:script|link)[^>]*(?:src|href)="https?:', start), "the site would load from elsewhere"


@pytest.mark.parametrize("link", ["[a](no_page.md)", "[a](tables.md#no-heading)"])
def test_a_link_to_nothing_stops_the_build(tmp_path: Path, link: str) -> None:
    with (copy_of_pages(tmp_path) / "docs" / "tuning.md").open("a", encoding="utf-8") as page:
        page.write(f"\n{link}\n")
    with pytest.raises(Abort):
        build_site(tmp_path)


def test_the_reference_of_sweep_files_is_the_schemas_and_has_every_key() -> None:
    # In a process of its own: other tests add networks to the catalogue of this one.
    write = f"import runpy; print(runpy.run_path({str(REFERENCE)!r})['sweep_reference'](), end='')"
    made = subprocess.run([sys.executable, "-c", write], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    page = (ROOT / "docs" / "sweep_file.md").read_text(encoding="utf-8")
    assert page == made, "make docs, and commit docs/sweep_file.md"
    schema = sweep_schema()
    known = schema["$defs"]
    recipe = {key for key in known["Base"]["properties"] if not key.startswith("teacher")}
    whole = {key for key in recipe if any(other.startswith(f"{key}.") for other in recipe)}
    others = {
        key for name in ("Resources", "CohortSpec", "EarlyStopping", "Table") for key in known[name]["properties"]
    }
    missing = {key for key in recipe - whole | others | set(schema["properties"]) if f"| `{key}` |" not in page}
    assert missing == set()
    words = json.dumps(known["Base"]["properties"]["optim.lr"]["description"]).strip('"')
    assert words in page


def texts_of_the_code() -> Iterator[str]:
    """Every string of the packages, with ... for what is filled in."""
    for package in ("reskd", "orchestrator"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = (part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
                    yield "".join(map(str, parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value.replace("%d", "...").replace("%s", "...")


def test_every_message_of_the_page_of_troubles_is_one_of_the_code() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    known = re.sub(r"\.\.\.['\"]?", "...", "\n".join(texts_of_the_code()))
    shown = re.findall(r"^\| `([^`]*)`", page, flags=re.MULTILINE)
    assert len(shown) > 25
    parts = {message: [part.strip(" ;:,'\"") for part in re.split(r"\.\.\.|'\w+'", message)] for message in shown}
    missing = {message: [part for part in found if part not in known] for message, found in parts.items()}
    assert {message: found for message, found in missing.items() if found} == {}


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert f'version = "{cited["version"]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert cited["license"] == "Apache-2.0"
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
