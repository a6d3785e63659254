"""Python source as the sequence of tokens that carry meaning.

Belongs here: dropping comments, docstrings and layout, the same way on every Python from 3.11 on.
Does not belong: which sources belong together and what a change asks for (fingerprints.py).
"""

from __future__ import annotations

import io
import tokenize
from collections.abc import Iterator

LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}
BLOCKS = {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
"""Tokens whose text is layout but whose place is meaning: they end statements and shape blocks."""


def meaningful_tokens(source: str) -> Iterator[str]:
    """The tokens that carry meaning, as text; statements that are only a string (docstrings) are left out.

    Ends of statements and the shape of blocks come out as <NEWLINE>, <INDENT> and <DEDENT>, whatever their white space.
    """
    statement: list[str] = []
    only_strings = True
    for kind, text in _plain(source):
        if kind not in BLOCKS:
            statement.append(text)
            only_strings = only_strings and kind == tokenize.STRING and text[0] not in "fFtT"
            continue
        if statement and not only_strings:
            yield from statement
        if kind != tokenize.NEWLINE or not only_strings:
            yield f"<{tokenize.tok_name[kind]}>"
        statement, only_strings = [], True


def _plain(source: str) -> Iterator[tuple[int, str]]:
    """(kind, text) without layout, with each f-string in one piece as before Python 3.12, on every version."""
    lines = source.splitlines(keepends=True)
    depth, start = 0, (0, 0)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        name = tokenize.tok_name[token.type]
        if name in ("FSTRING_START", "TSTRING_START"):
            start = start if depth else token.start
            depth += 1
        elif name in ("FSTRING_END", "TSTRING_END"):
            depth -= 1
            if not depth:
                yield tokenize.STRING, _between(lines, start, token.end)
        elif not depth and token.type not in LAYOUT:
            yield token.type, "" if token.type in BLOCKS else token.string


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    (first, left), (last, right) = start, end
    if first == last:
        return lines[first - 1][left:right]
    return "".join([lines[first - 1][left:], *lines[first : last - 1], lines[last - 1][:right]])
