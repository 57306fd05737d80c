"""Whether two style sheets mean the same to a browser, read from its CSSOM.

What makes style sheets small merges rules and shorthands, so that their rules cannot be compared one by one. Compared
are single declarations instead: of each selector of a list by itself, and each longhand of a shorthand, with the
conditions (``@media``, ``@supports``, ``@layer`` and all others, and the rules it is nested in) around it.

1. Of declarations with the same conditions, selector and longhand only one can ever win: the last that is
   ``!important``, or else the last. An element that one of them matches, all match, equally specific and in the same
   layer. The others are left out, on both sides.
2. Of what is left, those of one longhand are compared as a list, in their order: so for any element the same ones match
   and compete, in the same order. Declarations of different longhands never compete, so their order is free; but a
   logical longhand and a physical one may, so of those pairs that a sheet has the merged lists are compared as well.
3. Two values are the same if the browser writes them alike, or computes the same from them under parents with other
   fonts, colours and directions. Values with ``var()``, and of custom properties, are texts: there numbers, colours,
   blanks, comments and quotes are first written in one way.
4. Layers are compared by the order in which they are first named, other rules (``@font-face``, ``@keyframes``) as
   lists.

A browser keeps nothing of what it does not know. What is for other browsers is compared by name, in the text
(:func:`foreign`).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import Any

from noa_perf.cdn.pipeline.css import TOKEN

SCRIPT = Path(__file__).with_name("cssom.js")

_SIDES = {
    **dict.fromkeys(("top", "bottom"), ("block-start", "block-end")),
    **dict.fromkeys(("left", "right"), ("inline-start", "inline-end")),
}
_COLOUR = re.compile(r"#[0-9a-fA-F]{3,8}\b|\b(?:rgba?|hsla?)\([^()]*\)")
_NUMBER = re.compile(r"(?<![\w#.-])([+-]?)(\d*\.?\d+)(?=[a-z%]|\b)", re.IGNORECASE)
_COMMENT = re.compile(r"/\*.*?\*/")
_SPACES = re.compile(r"\s+")
_MARKS = re.compile(r"\s*([,/()])\s*")

Entry = tuple[str, str, str, str, str]
"""Conditions, selector, longhand, value, priority."""


class Reader:
    """Asks one page of a browser."""

    def __init__(self, page: Any) -> None:
        """Prepare a page."""
        page.set_content("<!doctype html><title>x</title><body></body>")
        page.evaluate(SCRIPT.read_text())
        self._page = page
        self._colours: dict[str, str | None] = {}

    def differences(self, one: str, other: str) -> list[str]:
        """Return where two sheets differ, in words; nothing if they mean the same."""
        left, right = (self._meaning(text) for text in (one, other))
        assert left["styles"] or left["others"], "the browser has read nothing"
        told = [f"layers: {_first(left['layers'])} {_first(right['layers'])}"]
        told = told if _first(left["layers"]) != _first(right["layers"]) else []
        told += self._compared("rule", *(self._others(each["others"]) for each in (left, right)))
        mine, theirs = (_by_longhand(_winners(each["styles"])) for each in (left, right))
        for name in sorted(mine.keys() | theirs.keys()):
            told += self._compared(name, mine.get(name, []), theirs.get(name, []))
        for physical, logical in _rivals(mine.keys()):
            told += self._compared(
                f"{physical} and {logical}",
                *(sorted([*each[physical], *each.get(logical, [])], key=_place) for each in (mine, theirs)),
            )
        return told

    def _meaning(self, text: str) -> dict[str, Any]:
        # As one string: large objects take Playwright ten times as long.
        told: dict[str, Any] = json.loads(self._page.evaluate("text => JSON.stringify(window.meaning(text))", text))
        return told

    def _others(self, rules: list[Any]) -> list[tuple[int, Entry]]:
        found = []
        for place, (context, said, inner) in enumerate(rules):
            found.append((place, (json.dumps(context), _SPACES.sub(" ", said), "", "", "")))
            for name, value, *rest in (each[-3:] for each in inner or ()):
                where = json.dumps([said, [each[:-3] for each in inner if each[-3:] == [name, value, *rest]]])
                found.append((place, (json.dumps(context), where, name, value, rest[0])))
        return sorted(found, key=lambda each: (each[0], each[1][1], each[1][2]))

    def _compared(self, name: str, left: list[tuple[int, Entry]], right: list[tuple[int, Entry]]) -> list[str]:
        one, two = ([entry for _, entry in each] for each in (left, right))
        if one == two:
            return []
        if [_but_value(each) for each in one] != [_but_value(each) for each in two]:
            return [f"{name}: {_apart(one, two)}"]
        odd = [(a, b) for a, b in zip(one, two, strict=True) if a != b and self._plain(a[3]) != self._plain(b[3])]
        alike = self._page.evaluate("pairs => window.computesAlike(pairs)", [[a[2], a[3], b[3]] for a, b in odd])
        return [f"{a} is {b[3]}" for (a, b), same in zip(odd, alike, strict=True) if not same or "var(" in a[3]]

    def _plain(self, text: str) -> str:
        """Return a text of values as all that mean the same are written."""
        found = set(_COLOUR.findall(text)) - self._colours.keys()
        wanted = sorted(found)
        self._colours.update(
            zip(wanted, self._page.evaluate("texts => window.colours(texts)", wanted), strict=True) if wanted else ()
        )
        text = _COMMENT.sub(" ", text)
        text = _COLOUR.sub(lambda match: self._colours[match[0]] or match[0], text).replace("'", '"')
        text = _NUMBER.sub(lambda match: f"{match[1]}{float(match[2]):g}", text)
        return _MARKS.sub(r"\1", _SPACES.sub(" ", text)).strip()


def _winners(styles: list[Any]) -> list[tuple[int, Entry]]:
    """Return of each conditions, selector and longhand the one declaration that can win, and its place."""
    best: dict[tuple[str, str, str], tuple[int, Entry]] = {}
    for place, (context, selector, name, value, priority) in enumerate(styles):
        entry = (json.dumps(context), selector, name, value, priority)
        known = best.get(entry[:3])
        if known is None or priority or not known[1][4]:
            best[entry[:3]] = (place, entry)
    return sorted(best.values())


def _by_longhand(winners: list[tuple[int, Entry]]) -> dict[str, list[tuple[int, Entry]]]:
    found: dict[str, list[tuple[int, Entry]]] = defaultdict(list)
    for each in winners:
        found[each[1][2]].append(each)
    return found


def _rivals(names: Any) -> list[tuple[str, str]]:
    """Return the pairs of a physical and a logical longhand that may set the same thing."""
    assert "all" not in names
    found = []
    for name in names:
        for side in ("top", "bottom", "left", "right"):
            if re.search(rf"(^|-){side}(-|$)", name):
                base = re.sub(rf"(^|-){side}(?=-|$)", r"\1{}", name)
                prefix = "inset-" if base == "{}" else ""
                # In any writing mode, any logical side may be any physical one.
                sides = ("block-start", "block-end", "inline-start", "inline-end")
                found += [(name, prefix + base.format(each)) for each in sides]
        for size, logical in product(("width", "height"), ("inline-size", "block-size")):
            if re.fullmatch(rf"((min|max)-)?{size}", name):
                found.append((name, name.replace(size, logical)))
    return [(one, two) for one, two in found if two in names]


def _place(each: tuple[int, Entry]) -> int:
    return each[0]


def _first(layers: list[Any]) -> list[str]:
    return list(dict.fromkeys(json.dumps(each) for each in layers))


def _but_value(entry: Entry) -> tuple[str, ...]:
    return (*entry[:3], entry[4])


def _apart(one: list[Entry], two: list[Entry]) -> str:
    for a, b in zip(one, two, strict=False):
        if _but_value(a) != _but_value(b):
            return f"{a} stands where now is {b}"
    return f"{len(one)} declarations, now {len(two)}: {[*one, *two][min(len(one), len(two))]}"


def foreign(text: str) -> set[str]:
    """Return the words of a sheet that begin with the prefix of one browser, of properties, values and selectors."""
    words = (token.group().lower() for token in TOKEN.finditer(text) if token.lastgroup == "word")
    return {word.lstrip(":@.") for word in words if re.match(r"[@:.]*-(webkit|moz|ms|o|khtml)-", word)}
