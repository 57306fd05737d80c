"""JavaScript: its tokens, and which files a script names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from noa_perf.cdn.pipeline.references import Kind, Reference

TOKEN = re.compile(
    r"""
    (?P<comment>//[^\n\r\u2028\u2029]*|/\*.*?(?:\*/|\Z))
  | (?P<string>"(?:\\.|[^"\\\n])*+"|'(?:\\.|[^'\\\n])*+')
  | (?P<doubt>"(?:\\.|[^"\\\n])*+|'(?:\\.|[^'\\\n])*+)
  | (?P<space>\s+)
  | (?P<number>\.?\d(?:[eE][+-]|[\w.])*)
  | (?P<word>(?:[\w$#]|\\u|[^\x00-\x7f])+)
  | (?P<mark>=>|\+\+|--|\?\.|\.\.\.|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_REGEX = re.compile(r"/(?:\\.|\[(?:\\.|[^\]\\\n])*+\]|[^/\\\[\n])++/\w*")
_TRIES = 50
"""How often a regular expression that has no end is looked for: each time the rest of the line is read."""
_TEMPLATE = re.compile(r"(?:\\.|[^`\\$]|\$(?!\{))*", re.DOTALL)
_MAP = re.compile(r"//[#@]\s*sourceMappingURL=(\S+)\s*\Z|/\*[#@]\s*sourceMappingURL=(\S+?)\s*\*/\Z")
_BEFORE_REGEX = frozenset(
    "return typeof case in delete void throw new instanceof do else yield await default extends".split()
)
_PARENTHESES_THEN_REGEX = frozenset({"if", "while", "for", "with"})
_MAY_DIVIDE = frozenset({"}", "yield", "await", "of"})
"""A block or a value ended; a keyword or a name: behind these only a parser tells a regular expression."""
_BEFORE_VALUE = frozenset("(,=[?|&!~+-*%<^")
"""A brace behind these begins an object."""
_MODULE = re.compile(r"\b(?:import|export)\b|sourceMappingURL")
_CLAUSE = frozenset("{},*")
_RESOLVE = ["import", ".", "meta", ".", "resolve"]
_BESIDE_MODULE = [",", "import", ".", "meta", ".", "url"]
_ESCAPES = re.compile(r"\\(?:u\{([0-9a-fA-F]+)\}|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0", "\n": ""}


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a mark, or a whole string, template or regular expression; no blank, and of comments the last alone."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.start + len(self.text)


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of a script. Whether ``/`` divides or begins a regular expression is told by what is before.

    Where that does not tell, or a string has no end, the token is of the kind ``doubt``: whatever follows it may be
    other tokens than those that come.
    """
    at, so_far = 0, _SoFar()
    while at < len(text):
        token = so_far.read(text, at)
        at = token.end
        if token.kind not in {"space", "aside"}:
            so_far.note(token)
            yield token


class _SoFar:
    """What was read of a script."""

    def __init__(self) -> None:
        self.before = self.last = Token("mark", ";", 0)
        self.templates: list[int] = []  # of each ${ that is open, how many braces were
        self.braces: list[bool] = []  # whether each that is open began an object
        self.parentheses: list[str] = []  # what stood before each that is open
        self.closed = ""
        self.object = False  # whether the last } ended one
        self.failed = 0

    def read(self, text: str, at: int) -> Token:
        """Return the next token, a blank, or a comment as ``aside``."""
        if text[at] == "`" or (text[at] == "}" and self.templates[-1:] == [len(self.braces)]):
            return self._template(text, at)
        if text[at] == "/" and text[at + 1 : at + 2] not in {"/", "*"} and self._begins_regex():
            return self._regex(text, at)
        match = cast("re.Match[str]", TOKEN.match(text, at))  # which matches anything
        kind, word = match.lastgroup or "", match.group()
        if kind == "comment" and not _MAP.match(word):
            kind = "aside"
        elif kind == "word" and self.last.text in {".", "?."}:
            kind = "name"  # keywords too are names there
        return Token(kind, word, at)

    def note(self, token: Token) -> None:
        """Keep what it says of the next ones."""
        if token.kind == "mark":
            self._nest(token.text)
        self.before, self.last = self.last, token

    def _nest(self, mark: str) -> None:
        if mark == "(":
            self.parentheses.append(self._opener())
        elif mark == ")":
            self.closed = self.parentheses.pop() if self.parentheses else ""
        elif mark == "{":
            self.braces.append(self.last.kind == "mark" and self.last.text in _BEFORE_VALUE)
        elif mark == "}":
            self.object = self.braces.pop() if self.braces else False

    def _opener(self) -> str:
        if self.last.kind == "name":
            return ""
        return "for" if self.last.text == "await" and self.before.text == "for" else self.last.text

    def _template(self, text: str, at: int) -> Token:
        end = cast("re.Match[str]", _TEMPLATE.match(text, at + 1)).end()  # it matches nothing at least
        opens = text.startswith("${", end)
        if text[at] == "}":
            self.templates.pop()
        if opens:
            self.templates.append(len(self.braces))
        return Token("template", text[at : end + (2 if opens else 1)], at)

    def _regex(self, text: str, at: int) -> Token:
        match = _REGEX.match(text, at) if self.failed < _TRIES else None
        if match is None:
            self.failed += 1
            return Token("doubt", "/", at)
        return Token("doubt" if self.last.text in _MAY_DIVIDE else "regex", match.group(), at)

    def _begins_regex(self) -> bool:
        word = self.last.text
        match self.last.kind:
            case "word":
                return word in _BEFORE_REGEX or (word == "of" and self._loops())
            case "template":
                return word.endswith("${")
            case "doubt":
                return word == "/"
            case "name" | "string" | "number" | "regex":
                return False
        return self._ends_statement(word)

    def _ends_statement(self, mark: str) -> bool:
        if mark == ")":
            return self.closed in _PARENTHESES_THEN_REGEX
        if mark == "}":
            return not self.object
        return mark not in {"]", "++", "--"}

    def _loops(self) -> bool:
        """Tell whether the word ``of`` stands where ``for (… of …)`` has it."""
        named = self.before.kind in {"word", "name"} or self.before.text in {"]", "}"}
        return named and self.before.text not in _BEFORE_REGEX and self.parentheses[-1:] == ["for"]


def references(text: str) -> Iterator[Reference]:
    """Yield each file that a script names.

    ``import`` and ``export … from``, ``import()``, ``import.meta.resolve()``, ``new URL(…, import.meta.url)``, and its
    source map.
    """
    if not _MODULE.search(text):
        return
    seen = [Token("mark", ";", 0)] * 6
    clause = False
    stream = [*tokens(text)]
    for place, token in enumerate(stream):
        if token.kind == "comment":
            yield from _map(token)
            continue
        kind = _meant(token, seen, stream[place + 1 : place + 7], clause) if _plain(token) else None
        if kind:
            yield _named(token, kind)
        clause = _in_clause(token, seen[-1], clause)
        seen = [*seen[1:], token]


def _meant(token: Token, seen: Sequence[Token], after: Sequence[Token], clause: bool) -> Kind | None:
    """Return as what a string names a file, by what stands around it."""
    words, follow = [each.text for each in seen], [each.text for each in after]
    if clause and words[-1] in {"from", "import"}:
        return "import"
    if words[-1] != "(":
        return None
    imported = words[-2] == "import" and seen[-2].kind == "word"
    resolved = words[-6:-1] == _RESOLVE and seen[-6].kind == "word"
    if (imported or resolved) and follow[:1] in ([")"], [","]):
        return "import"
    return "url" if words[-3:-1] == ["new", "URL"] and follow == _BESIDE_MODULE else None


def _in_clause(token: Token, last: Token, clause: bool) -> bool:
    """Tell whether what follows is still between ``import`` or ``export`` and the name of the file."""
    if token.kind == "word":
        return clause or token.text in {"import", "export"}
    if token.kind == "string":  # import {"any name" as one} from
        return clause and last.text in {"{", ",", "as"}
    return clause and token.text in _CLAUSE


def _plain(token: Token) -> bool:
    if token.kind == "template":
        return len(token.text) > 1 and token.text.startswith("`") and token.text.endswith("`")
    return token.kind == "string"


def _named(token: Token, kind: Kind) -> Reference:
    return Reference(token.start + 1, token.end - 1, _unescaped(token.text[1:-1]), kind)


def _map(token: Token) -> Iterator[Reference]:
    match = cast("re.Match[str]", _MAP.match(token.text))  # other comments are no tokens
    group = 1 if match[1] else 2
    yield Reference(token.start + match.start(group), token.start + match.end(group), match[group], "map")


def _unescaped(text: str) -> str:
    def meant(match: re.Match[str]) -> str:
        code = match[1] or match[2] or match[3]
        return chr(int(code, 16)) if code else _LETTERS.get(match[4], match[4])

    return _ESCAPES.sub(meant, text)
