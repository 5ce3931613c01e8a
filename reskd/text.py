"""Names in one form: accents composed with their letters (Unicode NFC), every letter visible, no letter a command."""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata

from reskd.errors import BadInput

INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"})
"""Unicode's categories of letters that nobody sees in a name, or that look like a space: control and format letters,
half a letter (a byte that is not UTF-8), separators."""
JOINERS = ("\N{ZERO WIDTH NON-JOINER}", "\N{ZERO WIDTH JOINER}")
"""They change the shape of the letters around them, in Persian or Hindi and in emoji, so they belong into words."""
MAX_ACCENTS = 30
"""Most accents on one letter: those of Unicode's Stream-Safe Text Format. Normalising takes time by their square."""
MAX_PATH_LETTERS = 4096
COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Letters that a terminal obeys: control letters, without the tab and the end of a line, and those that turn the
direction of writing."""
MARKDOWN = re.compile(
    r"[\\`*|~]|(?<!\w)_|_(?!\w)"  # emphasis, code, a table's cell
    r"|\](?=[(\[:])"  # a link
    r"|<(?=[A-Za-z/!?])|&(?=#?\w+;)"  # HTML
    r"|^>|^[#+](?=[\s#]|$)|^-(?=[\s-])|(?<=^\d)[.)](?=\s|$)"  # a quotation, a heading, a list; `-` alone is a cell's
)
"""The letters that Markdown reads as commands, where it does: what stands alone, as in `p < .05`, stays."""
ENTITIES = {"<": "&lt;", "&": "&amp;"}
"""For these a backslash is not understood everywhere."""
MAX_NAME_BYTES = 100
"""Longest name of ours inside a file's name. File systems allow 255 bytes, and hashes and endings are added."""

MAX_MADE_BYTES = 200
"""Longest name that is made of others, such as that of a sweep and its changes."""


def composed(text: str) -> str:
    """The text in Unicode's form NFC: "e" and its accent are one letter. In file names of a Mac they are two.

    Raises BadInput for a long text in which a letter has more than MAX_ACCENTS accents.
    """
    if text.isascii():
        return text
    if len(text) > MAX_PATH_LETTERS and (found := _too_many_accents().search(text)):
        raise BadInput(f"letter {found.start()} has more than {MAX_ACCENTS} accents; remove them")
    return unicodedata.normalize("NFC", text)


@functools.cache
def _too_many_accents() -> re.Pattern[str]:
    accents = "".join(letter for letter in map(chr, range(0x300, 0x20000)) if unicodedata.combining(letter))
    return re.compile(f"[{accents}]{{{MAX_ACCENTS + 1},}}")


def invisible_letter(text: str) -> str | None:
    """The first letter of a name that cannot be seen, such as `U+200B ZERO WIDTH SPACE`; None if all can.

    A plain space is no such letter, nor is a joiner between two letters of a script that is joined.
    """
    if text.isprintable():  # the usual case
        return None
    for place, letter in enumerate(text):
        if letter == " " or unicodedata.category(letter) not in INVISIBLE:
            continue
        around = text[max(0, place - 1) : place] + text[place + 1 : place + 2]
        if letter in JOINERS and len(around) == 2 and not any(each.isascii() for each in around):
            continue
        return f"U+{ord(letter):04X} {unicodedata.name(letter, _kind(letter))}"
    return None


def visible(text: str) -> str:
    """The text for a message: one line, and letters that cannot be seen as escapes, such as `\\u200b`."""
    if text.isprintable():
        return text
    return "".join(letter if letter == " " or letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def is_inside(path: str) -> bool:
    """Whether a path with forward slashes stays inside the folder that it is relative to, by its words alone."""
    return not path.startswith("/") and ".." not in path.split("/")


def without_commands(text: str) -> str:
    """The text for a terminal: letters that move its cursor, set its title or turn its writing as escapes, `\\x1b`."""
    return COMMANDS.sub(lambda found: ascii(found[0])[1:-1], text)


def plain_markdown(text: str) -> str:
    """The text as Markdown that shows it as it is, on one line: no letter makes a link, a tag, a cell or a heading."""
    line = re.sub(r"\s*\n\s*", " ", text).strip()
    return MARKDOWN.sub(lambda found: ENTITIES.get(found[0], f"\\{found[0]}"), line)


def code_block(text: str) -> str:
    """The text as a block of code in Markdown, whatever fences it holds itself."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"


def file_name_fault(name: str) -> str | None:
    """Why a name cannot be that of a file or folder of ours; None if it can."""
    hidden = invisible_letter(name)
    if not name.strip():
        return "it is empty"
    if name in (".", "..") or "/" in name or "\\" in name:
        return "it is a path"
    if hidden is not None:
        return f"it holds {hidden}"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"it is longer than {MAX_NAME_BYTES} bytes"
    return None


def file_name_of(text: str) -> str:
    """A name for a file or folder made of a text of any length. A text that is too long is cut and gets its hash."""
    name = text.replace("/", "_")
    if len(name.encode()) <= MAX_MADE_BYTES:
        return name
    end = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{name.encode()[: MAX_MADE_BYTES - 9].decode(errors='ignore')}-{end}"


def _kind(letter: str) -> str:
    return "half a letter, of a name that is not UTF-8" if unicodedata.category(letter) == "Cs" else "a control letter"
