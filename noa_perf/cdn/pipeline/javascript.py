"""JavaScript: its tokens, what a module names, and how it is made small by programs that are not trusted blindly."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from itertools import pairwise
from pathlib import Path
from typing import Literal, cast

from noa_perf.cdn.exceptions import BuildError
from noa_perf.cdn.pipeline.references import Reference
from noa_perf.cdn.pipeline.tdewolff import Helper, Refused

Tool = Literal["esbuild", "tdewolff", "rjsmin", "off"]

PATIENCE = 60.0
"""Seconds after which a minifier has hung: then the file stays as it is."""

TOKEN = re.compile(
    r"""
    (?P<comment>//[^\n\r\u2028\u2029]*|/\*.*?(?:\*/|\Z))
  | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
  | (?P<space>\s+)
  | (?P<number>\.?\d(?:[eE][+-]|[\w.])*)
  | (?P<word>(?:[\w$#]|\\u|[^\x00-\x7f])+)
  | (?P<mark>=>|\+\+|--|\?\.|\.\.\.|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_REGEX = re.compile(r"/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\[\n])+/\w*")
_TEMPLATE = re.compile(r"(?:\\.|[^`\\$]|\$(?!\{))*", re.DOTALL)
_MAP = re.compile(r"//[#@]\s*sourceMappingURL=(\S+)\s*\Z|/\*[#@]\s*sourceMappingURL=(\S+?)\s*\*/\Z")
_BEFORE_REGEX = frozenset(
    "return typeof case in of delete void throw new instanceof do else yield await default extends".split()
)
_PARENTHESES_THEN_REGEX = frozenset({"if", "while", "for", "with"})
_MODULE = re.compile(r"\b(?:import|export)\b|sourceMappingURL")
_CLAUSE = frozenset("{},*")
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
    """Yield the tokens of a script. Whether ``/`` divides or begins a regular expression is told by what is before."""
    at, last = 0, Token("mark", ";", 0)
    templates: list[int] = []  # of each ${ that is open, how deep the braces were
    parentheses: list[str] = []
    closed, depth = "", 0
    while at < len(text):
        if text[at] == "`" or (text[at] == "}" and templates and templates[-1] == depth):
            end, opens = _template(text, at)
            if text[at] == "}":
                templates.pop()
            if opens:
                templates.append(depth)
            last = Token("template", text[at:end], at)
        else:
            slash = text[at] == "/" and text[at + 1 : at + 2] not in {"/", "*"} and _begins_regex(last, closed)
            regex = _REGEX.match(text, at) if slash else None
            match = regex or cast("re.Match[str]", TOKEN.match(text, at))  # which matches anything
            if regex:
                last = Token("regex", regex.group(), at)
            elif match.lastgroup == "space" or (match.lastgroup == "comment" and not _MAP.match(match.group())):
                at = match.end()
                continue
            else:
                before, last = last, Token(match.lastgroup or "", match.group(), at)
                depth += (last.text == "{") - (last.text == "}")
                if last.text == "(":
                    parentheses.append(before.text)
                elif last.text == ")":
                    closed = parentheses.pop() if parentheses else ""
        yield last
        at = last.end


def _template(text: str, at: int) -> tuple[int, bool]:
    end = cast("re.Match[str]", _TEMPLATE.match(text, at + 1)).end()  # it matches nothing at least
    opens = text.startswith("${", end)
    return min(len(text), end + (2 if opens else 1)), opens


def _begins_regex(last: Token, closed: str) -> bool:
    if last.kind == "word":
        return last.text in _BEFORE_REGEX
    if last.kind == "template":
        return last.text.endswith("${")
    if last.kind in {"string", "number", "regex"}:
        return False
    if last.text == ")":
        return closed in _PARENTHESES_THEN_REGEX
    return last.text not in {"]", "++", "--"}


def references(text: str) -> Iterator[Reference]:
    """Yield each file that a script names.

    ``import`` and ``export … from``, ``import()``, ``new URL(…, import.meta.url)``, and its source map.
    """
    if not _MODULE.search(text):
        return
    seen = [Token("mark", ";", 0)] * 5
    clause = False
    stream = [*tokens(text)]
    for place, token in enumerate(stream):
        if token.kind == "comment":
            yield from _map(token)
            continue
        if token.kind in {"string", "template"} and _plain(token):
            called = seen[-1].text == "(" and seen[-2].text == "import" and seen[-3].text != "."
            if called or (clause and seen[-1].text in {"from", "import"}):
                yield _named(token, "import")
            elif [each.text for each in seen[-3:]] == ["new", "URL", "("] and _beside_module(stream, place):
                yield _named(token, "url")
        if token.kind == "word" and token.text in {"import", "export"}:
            clause = seen[-1].text not in {".", "?."}
        elif token.kind != "word" and token.text not in _CLAUSE:
            clause = False
        seen = [*seen[1:], token]


def _beside_module(stream: Sequence[Token], place: int) -> bool:
    after = [each.text for each in stream[place + 1 : place + 7]]
    return after == [",", "import", ".", "meta", ".", "url"]


def _plain(token: Token) -> bool:
    return token.kind == "string" or (token.text.endswith("`") and token.text.startswith("`") and len(token.text) > 1)


def _named(token: Token, kind: Literal["import", "url"]) -> Reference:
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
        if self.tool == "esbuild":
            return f"esbuild {_esbuild_version(self.esbuild)}"
        package = {"tdewolff": "tdewolff-minify", "rjsmin": "rjsmin"}.get(self.tool)
        return f"{self.tool} {metadata.version(package)}" if package else "none"

    def close(self) -> None:
        """End the helper process."""
        self._helper.close()

    def minified(self, text: str) -> str:
        """Return ``text`` smaller, and the same to whoever runs it; unchanged where that cannot be had."""
        if "\0" in text:  # tdewolff's reads it as the end, and no script needs one
            return text
        for small in self._tries(text):
            made = small(text)
            if made is not None and len(made.encode()) < len(text.encode()):
                return made
        return text

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
        except subprocess.TimeoutExpired:
            return None
        return done.stdout.decode().removesuffix("\n") if done.returncode == 0 else None

    def _tdewolff(self, text: str) -> str | None:
        try:
            small = self._helper.minified("application/javascript", text)
            # What it wrote has to be JavaScript again. It has as much room for the result as the text is long, and may
            # need a little more the second time.
            self._helper.minified("application/javascript", small + "\n" * (1_000 + len(small) // 100))
        except Refused:
            return None
        return small

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


def _beyond_tdewolff(text: str) -> bool:
    """Tell whether it would make something else of a script.

    It shortens names that ``eval()`` or ``with()`` may ask for by their text, and takes a ``var`` in a ``catch`` for a
    variable other than the caught one.
    """
    caught: list[tuple[str, int]] = []
    depth, declares = 0, False
    last = ["", "", "", ""]
    for token in tokens(text):
        word = token.text
        depth += (word == "{") - (word == "}")
        if word == "(" and last[-1] in {"eval", "with"} and last[-2] not in {".", "?."}:
            return True
        if word == "{" and last[-4:-2] == ["catch", "("]:
            caught.append((last[-2], depth))
            declares = False
        elif caught and depth < caught[-1][1]:
            caught.pop()
        declares = declares or word == "var"
        if declares and last[-1] in {"var", ","} and any(word == name for name, _ in caught):
            return True
        last = [*last[1:], word]
    return False


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
    if [each.text for each in mine] != [each.text for each in theirs]:
        return False
    if any(a.end == b.start and (a.text, b.text) in {("!", "--"), ("--", ">")} for a, b in pairwise(mine)):
        return False
    for (a, b), (c, d) in zip(pairwise(mine), pairwise(theirs), strict=True):
        parted, joined = "\n" in one[a.end : b.start], "\n" not in other[c.end : d.start]
        if parted and joined and a.text not in _OPEN and b.text not in _CONTINUES:
            return False
    return True
