"""Names, questions and errors that hold commands of another language are shown as they are, wherever they stand."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from mlflow import MlflowClient

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.experiment.report_page import PageWriter
from orchestrator.report.render import render
from orchestrator.run.console import make_console
from orchestrator.tables.write_files import render as on_terminal
from orchestrator.tables.write_files import report_files
from orchestrator.tracking.settings import equals
from reskd.errors import BadInput
from reskd.text import code_block, plain_markdown
from tests.support.mlflow_runs import publisher_of, runs_of
from tests.support.stored_sweep import MANIFEST, SWEEP, StoredSweep
from tests.support.stored_tables import table_of

SCRIPT = "<script>alert(1)</script>"
PICTURE = "<img src=x onerror=alert(1)>"
LINK = "[click](javascript:alert(1))"
CELL = "a | b"
CODE = "`x` **y** _z_"
TEX = r"\input{/etc/passwd} % $x$"
MARKUP = "[bold red]x[/] :smile:"
QUOTES = """it's "x" OR tags.`a` != ''"""
HOSTILE = [SCRIPT, PICTURE, LINK, CELL, CODE, TEX, MARKUP, QUOTES]
TITLE = "\x1b]0;owned\x07\x1b[2J"
"""It sets a terminal's title, and clears it."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> StoredSweep:
    """A sweep whose rows, question and title are hostile; one step of it has failed by an error that is too."""
    tree = yaml.safe_load(SWEEP.replace("SEEDS", "[0]"))
    tree["question"] = f"Does {SCRIPT} {LINK} {TEX} help?"
    tree["rows"]["chain"] = [{"row": row, "optim.lr": 0.01 * index} for index, row in enumerate(HOSTILE, start=1)]
    tree["tables"]["table5"] = {"title": f"{SCRIPT} {TEX}", "rows": "row", "columns": ["test/top1", "GMACs"]}
    stored = StoredSweep(tmp_path_factory.mktemp("hostile"), text=yaml.safe_dump(tree, sort_keys=False), seeds=(0,))
    for row in HOSTILE[1:]:
        stored.finish(stored.id_of(row, 0), 0.5)
    failed = stored.id_of(HOSTILE[0], 0)
    stored.start(failed)
    stored.store.fail(failed, {"reason": f"{PICTURE} {LINK} {TITLE}", "traceback": f"```\n{SCRIPT}", "epoch": 1})
    return stored


class Elements(HTMLParser):
    """The elements, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: dict[str, list[str]] = {}
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attributes:
            self.attributes.setdefault(name, []).append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_shown_as_text(page: Elements) -> None:
    assert not page.tags & {"script", "img", "iframe"}
    assert not [name for name in page.attributes if name.startswith("on")]
    assert not [value for value in page.attributes.get("href", []) if value.startswith("javascript:")]


def test_pages_show_them_as_text(hostile: StoredSweep) -> None:
    hostile.store.write_manifest(MANIFEST)
    whole = render(PageWriter(Prepared(hostile.sweep, hostile.store, hostile.steps, {})).page())
    for page in (whole, report_files([table_of(hostile)])["table5.html"]):
        assert isinstance(page, str)
        elements = Elements(page)
        assert_shown_as_text(elements)
        for name in HOSTILE:
            assert name in elements.text


def test_markdown_shows_them_as_text(hostile: StoredSweep) -> None:
    files = report_files([table_of(hostile)])
    for name in ("table5.md", "report.md"):
        elements = Elements(MarkdownIt("commonmark", {"html": True}).enable("table").render(str(files[name])))
        assert_shown_as_text(elements)
        assert not elements.tags & {"strong", "em", "code"} - ({"code"} if name == "report.md" else set())
        for hostile_name in HOSTILE:
            assert hostile_name in elements.text


@given(st.text(st.sampled_from("ab1 <>&;/!?[](){}*_`~|\\\\#+-.:\"'\n"), max_size=30))
def test_any_text_is_one_cell_and_one_line_of_markdown_without_elements(text: str) -> None:
    assume(text.strip() != "-")  # what a cell without a number shows; only at the start of a line it is a list
    shown = plain_markdown(text)
    page = f"- {shown}\n\n| {shown} | x |\n| --- | --- |\n| {shown} | y |\n"
    elements = Elements(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(page))
    assert elements.tags <= {"ul", "li", "p", "table", "thead", "tbody", "tr", "th", "td"}
    if elements.tags >= {"table"}:
        name = re.sub(r"\s", "", text)
        assert re.sub(r"\s", "", elements.text) == f"{name}{name}x{name}y"


def test_a_block_of_code_ends_where_it_ends() -> None:
    for text in ("no fence", "```\n<b>", "`````\n# x"):
        tokens = MarkdownIt("commonmark").parse(code_block(text))
        assert [(token.type, token.content) for token in tokens] == [("fence", f"{text}\n")]


def test_a_runs_description_shows_them_as_text(hostile: StoredSweep) -> None:
    publisher = publisher_of(hostile)
    publisher.publish()
    notes = [run.data.tags["mlflow.note.content"] for run in runs_of(publisher)]
    assert any("onerror" in note for note in notes)
    for note in notes:
        assert_shown_as_text(Elements(MarkdownIt("commonmark", {"html": True}).render(note)))


def test_latex_obeys_none_of_them(hostile: StoredSweep) -> None:
    text = str(report_files([table_of(hostile)])["table5.tex"])
    assert r"\textbackslash{}input\{/etc/passwd\} \% \$x\$" in text
    assert r"\input" not in text
    assert len(re.findall(r"(?<!\\)%", text)) == 2  # our own comment, and the end of the line that fits the table


def test_a_terminal_obeys_none_of_them(hostile: StoredSweep) -> None:
    out = io.StringIO()
    console = make_console(out)
    console.print(on_terminal(table_of(hostile)))
    console.print(TITLE + MARKUP, style="bold")
    said = out.getvalue()
    assert "\x1b" not in said
    assert "\x07" not in said
    assert "\\x1b]0;owned" in said
    for name in (SCRIPT, CELL, CODE, MARKUP):
        assert name in said


@pytest.mark.parametrize("value", ["plain", "it's", 'a "b"', "x' OR tags.`k` != '", "%", "a;b -- c", "\\'"])
def test_a_filter_of_mlflow_finds_exactly_the_value(client: MlflowClient, value: str) -> None:
    found = client.search_runs([client.get_experiment_by_name("k").experiment_id], equals("tags.`k`", value))
    assert [run.data.tags["k"] for run in found] == [value]


def test_a_value_with_both_quotation_marks_is_refused() -> None:
    with pytest.raises(BadInput, match="both kinds"):
        equals("tags.`k`", QUOTES)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    client = MlflowClient(f"sqlite:///{tmp_path_factory.mktemp('filters')}/mlflow.db")
    experiment = client.create_experiment("k")
    for value in ["plain", "it's", 'a "b"', "x' OR tags.`k` != '", "%", "a;b -- c", "\\'", "other"]:
        client.create_run(experiment, tags={"k": value})
    return client
