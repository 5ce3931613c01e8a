"""Makes small things wrong in a text, in bytes and in a tree of plain values. The same seed makes the same mistakes."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from random import Random
from typing import Any

NUMBERS = ("0", "-1", "1e999", "-1e-999", "nan", "inf", "1_0", "0x10", "1.5", "007", "\u0661", "1e3", "1000000000")
LONG_NUMBERS = ("9" * 20, "9" * 400, "9" * 5000, "1e" + "9" * 30, "0." + "3" * 5000)
PATHS = ("..", "../../etc/passwd", "/etc/passwd", "/dev/zero", "a/../../b.mp4", "./x", "//x", "C:\\x.mp4", "~/x", "x/")
WORDS = ("", " ", "\t", "\0", "\x1b[31m", "\r", "\x85", "\u2028", "\u200b", "\ufeff", "e\u0301", "\U0001f600", "\ud800")
SYNTAX = (*",;:|{}[]()<>#&*!%@`'\"\\/=?-~\n", "---", "...", "<<: *a", "&a [*a]", "!!python/object:os.system", "!!int x")
LARGE = ("x" * 300, "x" * 70_000, "[" * 3000, "e" + "\u0301\u0316" * 20_000, "a,b;" * 5000)
TOKENS = (NUMBERS, LONG_NUMBERS, PATHS, WORDS, SYNTAX, LARGE)
SEPARATOR = re.compile(r"([,;\t ]+)")
MAX_LETTERS = 300_000
"""A text of mutations upon mutations does not grow beyond this."""


class Mutator:
    """Draws mistakes from a random generator."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def token(self) -> str:
        """A word that readers get wrong; one of its kinds is drawn first."""
        return self.random.choice(self.random.choice(TOKENS))

    def text(self, text: str) -> str:
        """The text after one to three mistakes in its lines, its fields or anywhere in it."""
        ways: tuple[Callable[[str], str], ...] = (self._field, self._field, self._line, self._span)
        for _ in range(self.random.randint(1, 3)):
            text = self.random.choice(ways)(text)[:MAX_LETTERS]
        return text

    def content(self, text: str) -> bytes:
        """The text in a wrong encoding, with a mark before it, damaged or cut off."""
        way = self.random.randrange(7)
        if way == 0:
            encodings = ("utf-16", "utf-32", "utf-16-le", "utf-7", "utf-8-sig")
            return text.encode(self.random.choice(encodings), "replace")
        content = bytearray(text.encode("utf-8", "surrogatepass"))
        place = self.random.randrange(len(content) + 1)
        if way == 1:
            return b"\xef\xbb\xbf" * self.random.randint(1, 2) + bytes(content)
        if way == 2:
            return bytes(content[:place])
        if way == 3:
            junk = (b"\0", b"\xff\xfe", b"\xc3", b"\x1f\x8b", b"PK\3\4", b"\xed\xa0\x80", self.random.randbytes(9))
            content[place:place] = self.random.choice(junk)
        elif way == 4:
            return b""
        elif way == 5:
            return bytes(content).replace(b"\n", self.random.choice((b"\r\n", b"\r", b"\x0b", b"\n\n\n", b"")))
        elif content:
            for _ in range(self.random.randint(1, 4)):
                content[self.random.randrange(len(content))] ^= 1 << self.random.randrange(8)
        return bytes(content)

    def tree(self, tree: Any, *, keys: list[str]) -> Any:
        """A copy of the tree after one to three changes: a value replaced, renamed, taken away, added or moved.

        keys: names that a renamed or added key may get.
        """
        tree = copy.deepcopy(tree)
        for _ in range(self.random.randint(1, 3)):
            place = self.random.choice(places(tree))
            if not place:
                if self.random.random() < 0.05:
                    tree = self.value(keys)
                continue
            *parents, last = place
            node = at(tree, parents)
            way = self.random.randrange(5)
            if way == 0:
                del node[last]
            elif way == 1 and isinstance(node, dict):
                node[self.key(keys)] = node.pop(last)
            elif way == 2 and isinstance(node, dict):
                node[self.key(keys)] = self.value(keys)
            elif way == 2:
                times = self.random.choice((1, 1, 1, 2000)) if len(repr(node[last])) < 100 else 1
                node.extend(copy.deepcopy(node[last]) for _ in range(times))
            elif way == 3:
                node[last] = copy.deepcopy(at(tree, self.random.choice(places(tree))))
            else:
                node[last] = self.value(keys)
        return tree

    def key(self, keys: list[str]) -> str:
        return self.random.choice(keys) if self.random.random() < 0.7 else self.token()

    def value(self, keys: list[str], *, depth: int = 0) -> Any:
        """Any plain value: a number of any size, a text, and lists and mappings of them."""
        way = self.random.randrange(9 if depth < 3 else 7)
        if way == 0:
            return self.random.choice((None, True, False))
        if way == 1:
            return self.random.randint(-2, 300)
        if way == 2:
            return self.random.choice((10**9, -(10**9), 2**31, 2**63, 2**64, 10**30, 10**400, 10**4000))
        if way == 3:
            return self.random.choice((0.5, -1.0, 1e-320, 1e308, -0.0, float("nan"), float("inf"), 1e999, 1e20))
        if way == 4:
            return self.random.choice(keys)
        if way in (5, 6):
            return self.token()
        inner = [self.value(keys, depth=depth + 1) for _ in range(self.random.randint(0, 3))]
        if way == 7:
            return inner
        if self.random.random() < 0.1:
            return nested(self.random.choice((30, 60, 150)), inner, as_list=self.random.random() < 0.5)
        return {self.key(keys): value for value in inner}

    def _field(self, text: str) -> str:
        """One field of a line replaced, emptied, doubled or glued to its neighbour; or the separators changed."""
        lines = text.split("\n")
        number = self.random.randrange(len(lines))
        cells = SEPARATOR.split(lines[number])
        place = self.random.randrange(len(cells))
        way = self.random.randrange(6)
        if way < 3:
            cells[place] = self.token()
        elif way == 3:
            cells[place] += self.token()
        elif way == 4:
            cells[place] = cells[place] * self.random.choice((0, 2, 50))
        else:
            cells = [self.random.choice(",;\t ") if SEPARATOR.fullmatch(cell) else cell for cell in cells]
        lines[number] = "".join(cells)
        return "\n".join(lines)

    def _line(self, text: str) -> str:
        """One line taken away, repeated, moved or replaced."""
        lines = text.split("\n")
        number = self.random.randrange(len(lines))
        line = lines.pop(number)
        way = self.random.randrange(5)
        if way == 1:
            lines[number:number] = [line] * self.random.choice((2, 2, 3, 1000))
        elif way == 2:
            lines.insert(self.random.randrange(len(lines) + 1), line)
        elif way == 3:
            lines.insert(number, self.token())
        elif way == 4:
            lines.insert(number, self.random.choice(("\t", "  ", " ")) + line)
        return "\n".join(lines)

    def _span(self, text: str) -> str:
        """A few letters cut out, or a token put in anywhere."""
        first = self.random.randrange(len(text) + 1)
        if self.random.random() < 0.5:
            return text[:first] + self.token() + text[first:]
        return text[:first] + text[first + self.random.choice((1, 1, 3, 30)) :]


def places(tree: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Keys and indices that lead to every value, at every depth."""
    if isinstance(tree, dict):
        inner = list(tree.items())
    elif isinstance(tree, list):
        inner = list(enumerate(tree[:50]))
    else:
        return [place]
    return [place, *(deeper for key, value in inner for deeper in places(value, (*place, key)))]


def at(tree: Any, place: Any) -> Any:
    for key in place:
        tree = tree[key]
    return tree


def nested(depth: int, value: Any, *, as_list: bool) -> Any:
    """The value inside this many lists, or mappings."""
    for _ in range(depth):
        value = [value] if as_list else {"a": value}
    return value
