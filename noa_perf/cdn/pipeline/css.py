"""CSS: its tokens, what it names, and how it is made small without losing a declaration."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from itertools import pairwise

from noa_perf.cdn.pipeline.references import Reference

TOKEN = re.compile(
    r"""
    (?P<comment>/\*.*?(?:\*/|\Z))
  | (?P<string>"(?:\\.|[^"\\\n])*"? | '(?:\\.|[^'\\\n])*'?)
  | (?P<url>url\(\s*+(?!["'])(?:\\.|[^)\\])*+(?:\)|\\?\Z))
  | (?P<space>\s+)
  | (?P<word>(?:\\.|[-\w@%#.]|[^\x00-\x7f])+)
  | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
"""Enough of css-syntax-3 to know strings, comments, addresses and blocks apart from all else."""

_ESCAPE = re.compile(r"\\(?:([0-9a-fA-F]{1,6})\s?|(.))", re.DOTALL)
_MAP = re.compile(r"/\*[#@]\s*sourceMappingURL=(\S+?)\s*\*/\Z", re.DOTALL)
_NAMING = {"url", "src", "image-set", "-webkit-image-set"}
_BLOCK = frozenset("{};")
_TIGHT = _BLOCK | {","}
"""Around these no space has a meaning, but for values of custom properties, which keep theirs."""

_HOLDER = re.compile(r"\s*@(?:media|supports|layer|container)\b(?:[^{};/\"']|/(?!\*))*\{", re.IGNORECASE)
_DEEPEST = 10
"""Rules in rules in rules: each level is read anew, and nobody writes more."""
_PREFIXED = re.compile(r"(?<![\w-])-(?:webkit|moz|ms|o|khtml)-[\w-]+")
_HARMLESS = re.compile(
    r"(?:margin|padding)(?:-(?:top|right|bottom|left))?"
    r"|border-(?:(?:top|right|bottom|left)(?:-(?:width|style|color))?|width|style|color|radius)"
)
"""Shorthands that every browser knows and that set nothing beside what they stand for, and what they are taken apart
into. What makes CSS small may write them where they were not."""
_STRINGS = r""" "(?:\\.|[^"\\\n])*+"? | '(?:\\.|[^'\\\n])*+'? """
_PLAIN = rf"[^()\"'\\]++ | {_STRINGS} | \\."
_STATEMENT = re.compile(
    rf"""
    ((?: [^{{}};"'/()\\]++ | {_STRINGS} | /\*.*?(?:\*/|\Z) | \\.
       | \((?: {_PLAIN} | \((?: {_PLAIN} | \((?: {_PLAIN} )*+\) )*+\) )*+\)
       | [/()\\] )*+)
    ([{{}};]|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(rf"({_STRINGS})|/\*.*?(?:\*/|\Z)", re.VERBOSE | re.DOTALL)
_ASIDE = re.compile(rf"{_STRINGS}|/\*.*?(?:\*/|\Z)", re.VERBOSE | re.DOTALL)
"""Strings and comments."""
_OLD_RANGE = re.compile(r"\(\s*(?:-webkit-)?(?:min|max)-", re.IGNORECASE)
_PRELUDE = re.compile(
    r"""
    "(?:\\.|[^"\\])*+(?:"|\\?\Z) | '(?:\\.|[^'\\])*+(?:'|\\?\Z) | /\*.*?(?:\*/|\Z)
  | @(?:media|import|container)\b[^{;]*
    """,
    re.VERBOSE | re.DOTALL,
)
_DENSITY = re.compile(r"(?<=[\d.])x(?=\))")
_BOUND = {">=": "min", "<=": "max"}
_RANGE = re.compile(r"\((-webkit-|)([a-z][a-z-]*)(>=|<=)((?:[^()<>=]|\([^()]*\))+)\)")


def references(text: str) -> Iterator[Reference]:
    """Yield each file that a stylesheet names: ``url()``, ``image-set()``, ``@import``, its source map."""
    around: list[str] = []
    last, rule = "", ""
    for token in TOKEN.finditer(text):
        kind, word = token.lastgroup, token.group()
        if kind == "comment":
            if match := _MAP.match(word):
                yield Reference(token.start() + match.start(1), token.start() + match.end(1), match[1], "map")
            continue
        if kind == "space":
            continue
        if rule != "@namespace":
            yield from _named(token, last, around)
        if word == "(":
            around.append(last)
        elif word == ")" and around:
            around.pop()
        elif kind == "mark" and word in _BLOCK:
            around.clear()
            rule = ""
        elif word.startswith("@"):
            rule = word.lower()
        last = word.lower()


def _named(token: re.Match[str], last: str, around: Sequence[str]) -> Iterator[Reference]:
    if token.lastgroup == "url":
        if token.group().endswith(")"):  # without an end it is the rest of the file
            yield _unquoted(token)
    elif token.lastgroup == "string" and (last == "@import" or (around and around[-1] in _NAMING)):
        yield Reference(token.start() + 1, token.end() - 1, _unescaped(token.group()[1:-1]), "url")


def _unquoted(token: re.Match[str]) -> Reference:
    inner = token.group()[4:-1]
    start = token.start() + 4 + len(inner) - len(inner.lstrip())
    return Reference(start, start + len(inner.strip()), _unescaped(inner.strip()), "url")


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else match[2], text)


def installed() -> bool:
    """Tell whether lightningcss is there."""
    return util.find_spec("lightningcss") is not None


def version() -> str:
    """Return what makes CSS small here, and its version: results depend on it."""
    return f"lightningcss {metadata.version('lightningcss')}" if installed() else "none"


def minified(text: str, targets: Sequence[str] = ()) -> str:
    """Return ``text`` smaller, and the same to a browser; unchanged where that cannot be had.

    lightningcss does it. It takes every browser for the newest: it drops what is there for others (``width: 90%;
    width: min(90%, 3rem)``, ``-webkit-text-decoration``), and writes what only newer ones read (``inset`` for its four
    sides), or what sets more than was set (``border`` resets ``border-image``). Rules where it does lose comments and
    blanks, no more, and so does what it cannot read, or reads in its own words as something else. Where ``targets`` (a
    browserslist) say which browsers there are, it decides about all of that.
    """
    small = _lightning(text, targets)
    if small is None:
        small = "".join(_piecewise(run, targets, 0) for run in _runs(text))
    return small if len(small.encode()) < len(text.encode()) else text


def _piecewise(rules: Sequence[str], targets: Sequence[str], depth: int) -> str:
    """Return rules smaller, in stretches as long as can be trusted."""
    text = "".join(rules)
    small = _lightning(text, targets)
    if small is not None:
        return small
    if len(rules) == 1:
        return _inside(text, targets, depth) or stripped(text)
    middle = len(rules) // 2
    return _piecewise(rules[:middle], targets, depth) + _piecewise(rules[middle:], targets, depth)


def _inside(rule: str, targets: Sequence[str], depth: int) -> str:
    """Return a rule that holds others with these made smaller; empty if it holds none."""
    match = _HOLDER.match(rule)
    if not match or not rule.endswith("}") or depth == _DEEPEST:
        return ""
    inner = "".join(_piecewise(run, targets, depth + 1) for run in _runs(rule[match.end() : -1]))
    return f"{stripped(match.group())}{inner}}}"


def _runs(text: str) -> Iterator[list[str]]:
    """Yield the rules in stretches: those that have fallbacks, and those that have none."""
    run: list[str] = []
    had = False
    for rule, next_ in pairwise([*_rules(text), ""]):
        # Neighbours with one selector would be merged, and may be fallbacks of each other.
        merged = _selector(rule) == _selector(next_)
        has = bool(fallbacks(rule + next_ if merged else rule))
        if run and has != had:
            yield run
            run = []
        run.append(rule)
        had = has
    if run:
        yield run


def _selector(rule: str) -> list[str]:
    return rule.partition("{")[0].split()


def _rules(text: str) -> Iterator[str]:
    """Yield the outermost rules as they are written."""
    deep = start = 0
    for token in TOKEN.finditer(text):
        word = token.group()
        if token.lastgroup == "mark":
            deep = max(0, deep + (word in "({[") - (word in ")}]"))
            if deep == 0 and word in "};":
                yield text[start : token.end()]
                start = token.end()
    if text[start:].strip():
        yield text[start:]


def _lightning(text: str, targets: Sequence[str]) -> str | None:
    """Return what lightningcss makes of it; None where that cannot be trusted."""
    import lightningcss

    browsers = list(targets) or None
    try:
        small = lightningcss.process_stylesheet(text, browsers_list=browsers)
        older = small if targets else _as_old_as(text, small)
        if not targets and _loses(text, older):
            return None
        plain = lightningcss.process_stylesheet(small, minify=False, browsers_list=browsers)
        again = lightningcss.process_stylesheet(plain, minify=False, browsers_list=browsers)
    except ValueError:
        return None
    return older if plain == again else None


def _loses(text: str, small: str) -> bool:
    """Tell whether ``small`` lacks what is there for some browsers, or has what some do not know."""
    was, now = _survey(text), _survey(small)
    newer = any(not _HARMLESS.fullmatch(name) for name in now.declared - was.declared)
    return newer or bool(was.fallbacks - now.fallbacks) or bool(was.prefixed - now.prefixed)


def _as_old_as(text: str, small: str) -> str:
    """Return ``small`` with ``(min-width:1px)`` for ``(width>=1px)``, which browsers know since 2022 or 2023, if
    ``text`` says it so; and likewise with ``dppx`` for ``x``."""
    if not _OLD_RANGE.search(text):
        return small

    def older(match: re.Match[str]) -> str:
        if not match[0].startswith("@"):
            return match[0]
        prelude = _RANGE.sub(lambda each: f"({each[1]}{_BOUND[each[3]]}-{each[2]}:{each[4]})", match[0])
        return _DENSITY.sub("dppx", prelude) if "dppx" in text else prelude

    return _PRELUDE.sub(older, small)


@dataclass(frozen=True, slots=True)
class _Survey:
    """What a style sheet has, and how often."""

    fallbacks: Counter[str]
    declared: Counter[str]
    """Properties."""
    prefixed: Counter[str]
    """Words that are for one browser's engine."""


def fallbacks(text: str) -> Counter[str]:
    """Return how often a block declares a property once more with another value, or its shorthand after it.

    The first is there for browsers that do not know the second. Rules that follow one another with the same selector
    are one block: what makes CSS small may merge them.
    """
    return _survey(text).fallbacks


def _survey(text: str) -> _Survey:
    found = _Survey(Counter(), Counter(), Counter(_PREFIXED.findall(_ASIDE.sub("", text).lower())))
    block = _Block("", None)
    before = ""
    for prelude, end in _statements(text):
        if end == "{":
            # What is left of the block before, where that had the same selector.
            known = block.closed if block.closed is not None and before == prelude else None
            block, before = known or _Block(prelude, block), ""
            continue
        if prelude:
            before = ""
            block.declare(prelude, found)
        if end == "}" and block.outer is not None:
            before, block.outer.closed = block.prelude, block
            block = block.outer
    return found


class _Block:
    """What one block has declared so far."""

    def __init__(self, prelude: str, outer: _Block | None) -> None:
        self.prelude = prelude
        self.outer = outer
        self.closed: _Block | None = None
        """The last of the blocks in it."""
        self.values: dict[str, set[str]] = {}

    def declare(self, declaration: str, found: _Survey) -> None:
        name, colon, value = declaration.partition(":")
        if not colon or name.startswith(("--", "@")):
            return
        found.declared[name] += 1
        said = self.values.get(name)
        if said is None:
            longer = name + "-"
            for each in self.values:
                if each.startswith(longer):
                    found.fallbacks[f"{each} {name}"] += 1
            self.values[name] = {value}
        elif value not in said:
            found.fallbacks[name] += 1
            said.add(value)


def _statements(text: str) -> Iterator[tuple[str, str]]:
    """Yield what stands before each ``{``, ``}`` and ``;``, without blanks and comments, in small letters."""
    for match in _STATEMENT.finditer(text):
        prelude, end = match.groups()
        if "/*" in prelude:
            prelude = _COMMENT.sub(lambda each: each[1] or "", prelude)
        prelude = " ".join(prelude.lower().split())
        for mark in ":,":
            prelude = prelude.replace(f" {mark}", mark).replace(f"{mark} ", mark)
        if prelude or end:
            yield prelude, end or ";"


def stripped(text: str) -> str:
    """Return ``text`` without comments (but ``/*!``) and needless blanks; nothing else is touched."""
    parts: list[str] = []
    between, last, custom = "", "", False
    for token in TOKEN.finditer(text):
        kind, word = token.lastgroup, token.group()
        if not custom and kind == "space":
            between = " "
            continue
        if not custom and kind == "comment" and not word.startswith("/*!") and not _MAP.match(word):
            # What a comment parts stays parted: a/**/.b is not a .b, and 1px/**/2px is not 1px2px.
            between = between or "/**/"
            continue
        if word in _BLOCK:
            custom = False
        if between and parts and last not in _TIGHT and word not in _TIGHT:
            parts.append(between)
        while word == "}" and parts and parts[-1] == ";":
            parts.pop()
        parts.append(word)
        custom = custom or (kind == "word" and word.startswith("--") and last in {"", *_BLOCK})
        between, last = "", word
    return "".join(parts).strip()
