"""A page of one text, whose words are coloured by their shares in an answer."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from frostline.saliency.look import Word

HERE = Path(__file__).parent


class Piece(NamedTuple):
    """strength: of the share, from 0 to 1; None between words."""

    text: str
    strength: float | None
    share: float


def explained_page(texts: Mapping[str, str], words: Sequence[Word], answer: str, how: str) -> str:
    """texts: by column. words: in their order."""
    most = _most(words)
    pieces = {
        name: pieces_of(text, [word for word in words if word.text == number], most)
        for number, (name, text) in enumerate(texts.items())
    }
    return str(_template().render(texts=pieces, answer=answer, how=how))


def _most(words: Sequence[Word]) -> float:
    return max((abs(word.share) for word in words), default=0.0) or 1.0


def pieces_of(text: str, words: Sequence[Word], most: float | None = None) -> list[Piece]:
    """words: in their order. most: the share of strength 1; None: the largest of these words."""
    most = most or _most(words)
    found, at = [], 0
    for word in words:
        found += [Piece(text[at : word.start], None, 0.0)] if word.start > at else []
        found.append(Piece(text[max(word.start, at) : word.end], abs(word.share) / most, word.share))
        at = max(at, word.end)
    return [*found, *([Piece(text[at:], None, 0.0)] if at < len(text) else [])]


@cache
def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return made.get_template("explained.html")
