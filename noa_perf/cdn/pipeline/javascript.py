"""JavaScript: its tokens, what a module names, and how it is made small by programs that are not trusted blindly."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from itertools import pairwise
from pathlib import Path
from typing import Literal, cast

from noa_perf.cdn.exceptions import BuildError
from noa_perf.cdn.pipeline.references import Kind, Reference
from noa_perf.cdn.pipeline.tdewolff import Died, Helper, Refused

Tool = Literal["esbuild", "tdewolff", "rjsmin", "off"]

PATIENCE = 60.0
"""Seconds after which a minifier has hung: then the file stays as it is."""

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


class Unsettled(Exception):
    """A minifier hung or died, over the script or for want of memory: another time it may make something else of it."""

    def __init__(self, text: str) -> None:
        """Take what weaker tools made of it."""
        super().__init__("the minifier hung or died")
        self.text = text


class Minifier:
    """Makes JavaScript small with the tool that was chosen, and with weaker ones where that fails."""

    def __init__(self, tool: str = "auto", esbuild: str = "") -> None:
        """Choose: ``auto`` takes esbuild where ``esbuild`` or PATH or ``node_modules`` has it, otherwise tdewolff's.

        Raises :class:`~noa_perf.cdn.exceptions.BuildError` where a tool that was named is not there.
        """
        self.esbuild = (find_esbuild(esbuild) if tool in {"auto", "esbuild"} else None) or ""
        self.tool = tool if tool != "auto" else self._best()
        self._helper = Helper(PATIENCE)
        self._require()

    @property
    def version(self) -> str:
        """What makes it small, and its version: results depend on it."""
        # What the tool does not make small goes to rjsmin, where that is there.
        weaker = f", rjsmin {metadata.version('rjsmin')}" if util.find_spec("rjsmin") else ""
        if self.tool == "esbuild":
            return f"esbuild {_esbuild_version(self.esbuild)}{weaker}"
        package = {"tdewolff": "tdewolff-minify", "rjsmin": "rjsmin"}.get(self.tool)
        return f"{self.tool} {metadata.version(package)}{weaker}" if package else "none"

    def close(self) -> None:
        """End the helper process."""
        self._helper.close()

    def minified(self, text: str) -> str:
        """Return ``text`` smaller, and the same to whoever runs it; unchanged where that cannot be had.

        Raises :class:`Unsettled` with what weaker tools made of it where a minifier hung or died.
        """
        if "\0" in text:  # tdewolff's reads it as the end, and no script needs one
            return text
        died = False
        for small in self._tries(text):
            try:
                made = small(text)
            except Died:
                made, died = None, True
            if made is not None and len(made.encode()) < len(text.encode()):
                break
        else:
            made = text
        if died:
            raise Unsettled(made)
        return made

    def _tries(self, text: str) -> Sequence[Callable[[str], str | None]]:
        weaker = [_rjsmin] if util.find_spec("rjsmin") else []
        if self.tool == "esbuild":
            return [self._esbuild, *weaker]
        if self.tool == "tdewolff" and not _beyond_tdewolff(text):
            return [self._tdewolff, *weaker]
        return weaker if self.tool in {"tdewolff", "rjsmin"} else []

    def _esbuild(self, text: str) -> str | None:
        small = self._run_esbuild(text, "--minify")
        # What it wrote has to be JavaScript again.
        return small if small is not None and self._run_esbuild(small) is not None else None

    def _run_esbuild(self, text: str, *arguments: str) -> str | None:
        command = [self.esbuild, "--loader=js", "--charset=utf8", "--target=esnext", "--log-level=silent", *arguments]
        try:
            done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=PATIENCE, check=False)
        except subprocess.TimeoutExpired as error:
            raise Died from error
        if done.returncode < 0:  # by a signal
            raise Died
        return done.stdout.decode().removesuffix("\n") if done.returncode == 0 else None

    def _tdewolff(self, text: str) -> str | None:
        try:
            small = self._helper.minified("application/javascript", text)
            # What it wrote has to be JavaScript again. It has as much room for the result as the text is long, and may
            # need a little more the second time.
            self._helper.minified("application/javascript", small + "\n" * (1_000 + len(small) // 100))
        except Died:
            raise
        except Refused:
            return None
        return None if _parameters(text) - _parameters(small) else small

    def _best(self) -> Tool:
        if self.esbuild:
            return "esbuild"
        return "tdewolff" if util.find_spec("minify") else "off"

    def _require(self) -> None:
        if self.tool == "esbuild" and not self.esbuild:
            raise BuildError(
                "NOA_PERF['CDN']['JAVASCRIPT'] is 'esbuild', and its native binary was not found: npm install esbuild, "
                "or name it by ESBUILD."
            )
        package = {"tdewolff": "minify", "rjsmin": "rjsmin"}.get(self.tool)
        if package and util.find_spec(package) is None:
            raise BuildError(
                f"NOA_PERF['CDN']['JAVASCRIPT'] is {self.tool!r}, and it is not installed: pip install noa-perf[cdn]."
            )


def find_esbuild(given: str = "", folder: Path | None = None) -> str | None:
    """Return the path of esbuild's native binary: the one ``given``, or of ``node_modules`` here, or on PATH.

    npm's package has the binary in a package of its own for each platform; the script beside it starts Node first.
    """
    if given:
        if shutil.which(given) is None:
            raise BuildError(f"NOA_PERF['CDN']['ESBUILD'] is {given!r}, and no program is there.")
        return given
    here = folder or Path.cwd()
    found = sorted(here.glob("node_modules/@esbuild/*/bin/esbuild"))
    usable = (str(path) for path in found if _esbuild_version(str(path)))
    return next(usable, None) or shutil.which("esbuild")


def _esbuild_version(program: str) -> str:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode().strip() if done.returncode == 0 else ""


_DEEPEST = 50


def _beyond_tdewolff(text: str) -> bool:
    """Tell whether it would make something else of a script, or may.

    It shortens names that ``eval()`` or ``with()`` may ask for by their text, and takes a ``var`` in a ``catch`` for a
    variable other than the caught one.
    """
    caught: list[tuple[str, int]] = []
    depth, declares = 0, False
    last = ["", "", "", ""]
    for token in tokens(text):
        word = token.text if token.kind != "name" else ""
        if _asks_by_text(token, last[-1]):
            return True
        depth += (word == "{") - (word == "}")
        if word == "{" and last[-4:-2] == ["catch", "("]:
            caught.append((last[-2], depth))
            declares = False
            if len(caught) > _DEEPEST:
                return True  # each is looked through below
        elif caught and depth < caught[-1][1]:
            caught.pop()
        declares = declares or word == "var"
        if declares and last[-1] in {"var", ","} and any(word == name for name, _ in caught):
            return True
        last = [*last[1:], word]
    return False


def _asks_by_text(token: Token, last: str) -> bool:
    """Tell whether ``eval()`` or ``with()`` begins here, or may: where there is doubt, more may be hidden."""
    if token.kind == "word":  # it may be written (eval)(…), or by escapes
        return token.text == "eval" or "\\" in token.text
    return token.kind == "doubt" or (token.text == "(" and last == "with")


_NO_FUNCTION = frozenset({"if", "for", "while", "switch", "with", "catch", "await"})


def _parameters(text: str) -> Counter[tuple[int, int]]:
    """Return how often a script has so many parameters, so many of them with defaults.

    tdewolff's drops those that a function does not use. But a function's ``length`` counts them, and Express tells what
    handles errors by it; and what a default calls is called.
    """
    stream = [token for token in tokens(text) if token.kind != "comment"]
    found: Counter[tuple[int, int]] = Counter()
    around: list[_Group] = []
    for place, token in enumerate(stream):
        after = stream[place + 1].text if place + 1 < len(stream) else ""
        if _closes(token) and around:
            group = around.pop()
            if token.text == ")" and after in {"{", "=>"} and group.may_be_parameters(stream):
                found[group.parameters(stream, place)] += 1
        if _opens(token):
            around.append(_Group(place))
        elif around:
            around[-1].commas += token.text == ","
            around[-1].defaults += token.text == "=" and after != "="
        if token.kind == "word" and after == "=>":
            found[1, 0] += 1
    return found


def _opens(token: Token) -> bool:
    return token.text in {"(", "[", "{"} or (token.kind == "template" and token.text.endswith("${"))


def _closes(token: Token) -> bool:
    return token.text in {")", "]", "}"} or (token.kind == "template" and token.text.startswith("}"))


@dataclass(slots=True)
class _Group:
    """What stands between parentheses, brackets or braces."""

    start: int
    commas: int = 0
    defaults: int = 0

    def may_be_parameters(self, stream: Sequence[Token]) -> bool:
        """Tell whether it is no condition, as far as what stands before it tells."""
        before = ["", "", *(each.text for each in stream[max(0, self.start - 2) : self.start])]
        return before[-1] not in _NO_FUNCTION or before[-2] == ","  # a method may have any name

    def parameters(self, stream: Sequence[Token], end: int) -> tuple[int, int]:
        """Return how many there are, and how many have a default."""
        empty, trailing = end == self.start + 1, stream[end - 1].text == ","
        return (0 if empty else self.commas + 1 - trailing), self.defaults


def _rjsmin(text: str) -> str | None:
    import rjsmin

    small = rjsmin.jsmin(text, keep_bang_comments=True)
    # It knows no templates inside templates, and guesses where lines may be joined.
    return small if _same(text, small) else None


_OPEN = frozenset("{([,;=+-*/%&|^!~?:<>") | {"=>", "...", ""}
"""A statement does not end after these, whether a line does or not."""
_CONTINUES = frozenset(")]},;.=*%&|^?:<>") | {"?.", "=>"}
"""Nor before these."""


def _same(one: str, other: str) -> bool:
    """Tell whether two scripts have the same tokens, and a new line wherever that may end a statement.

    ``<!--`` and ``-->`` begin comments in scripts, not in modules, and are nothing to rjsmin: no script with them is.
    """
    mine, theirs = ([each for each in tokens(text) if each.kind != "comment"] for text in (one, other))
    if [each.text for each in mine] != [each.text for each in theirs] or any(each.kind == "doubt" for each in mine):
        return False
    if any(a.end == b.start and (a.text, b.text) in {("!", "--"), ("--", ">")} for a, b in pairwise(mine)):
        return False
    for (a, b), (c, d) in zip(pairwise(mine), pairwise(theirs), strict=True):
        parted, joined = "\n" in one[a.end : b.start], "\n" not in other[c.end : d.start]
        if parted and joined and a.text not in _OPEN and b.text not in _CONTINUES:
            return False
    return True
