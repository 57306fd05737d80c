"""What makes scripts small, and what builds static files: noa_perf and its peers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

OURS = "noa_perf"
SCRIPTS = (
    "bootstrap/dist/js/bootstrap.bundle.js",
    "d3/dist/d3.js",
    "react/umd/react.development.js",
    "react-dom/umd/react-dom.development.js",
)
"""Of the corpus: what is minified."""
BUILT = (
    "bootstrap/dist/css/bootstrap.css",
    "bootstrap/dist/css/bootstrap.css.map",
    "bootstrap/dist/js/bootstrap.esm.js.map",
    "bootstrap/dist/js/bootstrap.bundle.js.map",
    "bootstrap/dist/js/bootstrap.esm.js",
    "lodash/lodash.js",
    *SCRIPTS,
)
"""Of the corpus: what is built, beside the shop's, the admin's and the REST framework's."""


@dataclass(frozen=True, slots=True)
class Tool:
    """What makes scripts small."""

    name: str
    package: str
    """Of Python, or of npm."""
    title: str


TOOLS = (
    Tool("esbuild", "esbuild", "noa_perf, esbuild"),
    Tool("tdewolff", "tdewolff-minify", "noa_perf, tdewolff"),
    Tool("rjsmin", "rjsmin", "rjsmin"),
    Tool("terser", "terser", "terser -c -m"),
)


@dataclass(frozen=True, slots=True)
class Storage:
    """What ``collectstatic`` builds with."""

    name: str
    package: str
    backend: str

    @property
    def installed(self) -> bool:
        """Whether it is there."""
        return self.package == OURS or util.find_spec(self.package) is not None

    @property
    def title(self) -> str:
        """Its name and version."""
        if self.package == OURS:
            from noa_perf import __version__

            return f"noa_perf {__version__}"
        return f"{self.name} {metadata.version(self.package)}"


STORAGES = (
    Storage(OURS, OURS, "noa_perf.cdn.storage.ReleaseStaticFilesStorage"),
    Storage(
        "Django ManifestStaticFilesStorage", "django",
        "django.contrib.staticfiles.storage.ManifestStaticFilesStorage",
    ),
    Storage(
        "whitenoise CompressedManifestStaticFilesStorage", "whitenoise",
        "whitenoise.storage.CompressedManifestStaticFilesStorage",
    ),
)  # fmt: skip

Minify = Callable[[str], str]


def minifier(name: str, esbuild: str) -> Minify:
    """Return what makes a script small: noa_perf with that tool; ``rjsmin`` is the package itself."""
    if name == "rjsmin":
        import rjsmin

        def alone(text: str) -> str:
            return str(rjsmin.jsmin(text, keep_bang_comments=True))

        return alone
    from noa_perf.cdn.pipeline.minifier import Minifier

    return Minifier(name, esbuild if name == "esbuild" else "").minified


def esbuild(packages: Path) -> str:
    """Return the corpus' native binary."""
    from noa_perf.cdn.pipeline.minifier import find_esbuild

    found = find_esbuild(folder=packages.parent)
    if not found:
        raise FileNotFoundError("esbuild's native binary is not among the packages")
    return found
