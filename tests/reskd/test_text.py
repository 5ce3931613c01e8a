"""Names in one form: composed accents, visible letters, and names that are no paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reskd.errors import MAX_LETTERS, BadInput, brief
from reskd.recipe import DataSpec
from reskd.text import composed, file_name_of, invisible_letter, plain_markdown, visible, without_commands


def test_both_ways_to_write_an_accent_become_one() -> None:
    assert composed("caf\u0065\u0301") == composed("caf\u00e9") == "caf\u00e9"


def test_a_letter_has_a_bounded_number_of_accents_in_a_long_text() -> None:
    """Unicode's normal form takes time by the square of them: 200,000 took a minute."""
    assert composed("e" + "\u0301" * 30 + "x" * 10_000).startswith("\u00e9\u0301")
    assert composed("\u0915\u0940" * 10_000) == "\u0915\u0940" * 10_000
    with pytest.raises(BadInput, match="letter 4 has more than 30 accents"):
        composed("cafe" + "\u0301\u0316" * 100_000)
    name = "e" + "\u0301" * 120  # a name on a disk is never longer than 255 bytes
    assert composed(name) == "\u00e9" + "\u0301" * 119


def test_a_long_message_keeps_its_place_and_its_way_out() -> None:
    said = str(BadInput(f"train.csv:2: label '{'x' * 100_000}' is odd; correct it"))
    assert said.startswith("train.csv:2: label 'xxx")
    assert said.endswith("xxx' is odd; correct it")
    assert len(said) == MAX_LETTERS
    assert brief("x" * 100, most=100) == "x" * 100
    assert len(brief("x" * 101, most=100)) == 100


@pytest.mark.parametrize(
    ("name", "letter"),
    [
        ("run\u200b", "U+200B ZERO WIDTH SPACE"),
        ("\ufeffrun", "U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("a\u00a0b", "U+00A0 NO-BREAK SPACE"),
        ("a\u200db", "U+200D ZERO WIDTH JOINER"),
        ("a\u202eb", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("a\nb", "U+000A a control letter"),
        ("a\x00", "U+0000 a control letter"),
        (b"caf\xe9".decode(errors="surrogateescape"), "U+DCE9 half a letter, of a name that is not UTF-8"),
    ],
)
def test_a_letter_that_nobody_sees_is_named(name: str, letter: str) -> None:
    assert invisible_letter(name) == letter
    assert visible(name).isascii()
    assert visible(name).isprintable()


@pytest.mark.parametrize(
    "name",
    [
        "pushing left to right",
        "打篮球",
        "\u0645\u06cc\u200c\u0631\u0648\u0645",  # Persian "I go": its two parts are not joined
        "\u0915\u094d\u200d\u0937",  # Devanagari, a joined form
        "\U0001f468\u200d\U0001f373",  # the emoji of a cook
    ],
)
def test_words_of_every_script_are_visible(name: str) -> None:
    assert invisible_letter(name) is None


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126)))
def test_plain_ascii_is_never_changed_nor_refused(name: str) -> None:
    assert (composed(name), invisible_letter(name), visible(name)) == (name, None, name)


@pytest.mark.parametrize("name", ["", " ", ".", "..", "../kinetics", "a/b", "/data", "a\\b", "a\x00", "n" * 300])
def test_a_data_sets_name_is_no_path(name: str) -> None:
    with pytest.raises(BadInput, match=r"data\.name must be a folder's name"):
        DataSpec(name=name)


@given(st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=400))
def test_a_name_of_any_length_names_a_file_and_stays_apart_from_others(text: str) -> None:
    name = file_name_of(text)
    assert (0 < len(name.encode()) <= 255, "/" in name) == (True, False)
    assert len(text.encode()) > 200 or name == text.replace("/", "_")
    assert file_name_of(text * 9 + "a") != file_name_of(text * 9 + "b")


def test_commands_to_a_terminal_are_escapes_and_lines_tabs_and_other_scripts_stay() -> None:
    assert without_commands("\x1b]0;owned\x07\x9b2J\r\u202e") == "\\x1b]0;owned\\x07\\x9b2J\\r\\u202e"
    for text in ("a\n\tb\u00a0c", "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\N{SNOWMAN}"):
        assert without_commands(text) == text


@pytest.mark.parametrize(
    "text", ["p < .05, 95 % interval", "val-f2_v1x1", "\N{MINUS SIGN}0.5 [0.1, 0.9]", "-", "a & b", "1 seed (0)."]
)
def test_usual_sentences_and_cells_are_written_into_markdown_as_they_are(text: str) -> None:
    assert plain_markdown(text) == text
