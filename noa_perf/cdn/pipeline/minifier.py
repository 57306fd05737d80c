"""JavaScript made small, by programs that are not trusted blindly."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from itertools import pairwise
from pathlib import Path
from typing import Literal

from noa_perf.cdn.exceptions import BuildError
from noa_perf.cdn.pipeline.javascript import Token, tokens
from noa_perf.cdn.pipeline.tdewolff import Died, Helper, Refused

Tool = Literal["esbuild", "tdewolff", "rjsmin", "off"]

PATIENCE = 60.0
"""Seconds after which a minifier has hung: then the file stays as it is."""


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
