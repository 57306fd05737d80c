"""How small scripts and pictures get, how long a build takes, and what the edge saves: beside the peers.

``make bench ONLY=cdn`` prints the tables; ``ARGS=--write`` puts them in docs/reference/benchmarks.md, and
``ARGS=--quick`` measures once. Each subject is measured in processes of its own, round by round. Packages come from npm
once; the bucket is moto's, the edge a Varnish, both on loopback. What cannot be measured is named as missing. It ends
with 1 where a bar does not hold, with 2 where noa_perf or what it is measured by could not be measured.
"""

from __future__ import annotations

import json
import math
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import django

from benchmarks import _verdict
from benchmarks._cdn_subjects import OURS, STORAGES, TOOLS
from benchmarks._verdict import Bar, options, say, write

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 3
PATIENCE = 900
"""Seconds that a process may take."""

Key = tuple[str, str]
"""What is measured, and of whom."""
Results = dict[Key, list[dict[str, Any]]]
EDGE = ("edge", OURS)


class Missing(Exception):
    """Why a subject could not be measured, as its one argument."""


def measure(kind: str, name: str, given: str = "") -> dict[str, Any]:
    """Return what a process of the subject's own measured."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks._cdn_worker", kind, name, given]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise Missing(f"no end after {PATIENCE} seconds") from None
    told = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not told:
        raise Missing((done.stderr.strip().splitlines() or ["no word"])[-1])
    found: dict[str, Any] = json.loads(told[-1])
    return found


def tasks() -> list[Key]:
    """Return what is measured in each round."""
    return [
        *(("javascript", tool.name) for tool in TOOLS),
        *(("build", storage.name) for storage in STORAGES if storage.installed),
    ]


def once() -> list[Key]:
    """Return what is the same each time, and measured once."""
    return [*(("edges", tool.name) for tool in TOOLS), ("images", OURS)]


def take(key: Key, ask: Callable[[], dict[str, Any]], results: Results, missing: dict[Key, str]) -> None:
    """Measure one subject, unless it could not be before."""
    if key in missing:
        return
    say(f"{key[0]}: {key[1]}")
    try:
        results.setdefault(key, []).append(ask())
    except Missing as error:
        missing[key] = str(error)
        results.pop(key, None)


def rounds(many: int, missing: dict[Key, str]) -> Results:
    """Return what each subject took in each round; the order turns from round to round."""
    results: Results = {}
    missing.update({("build", one.name): "not installed" for one in STORAGES if not one.installed})
    for key in once():
        take(key, partial(measure, *key), results, missing)
    for number in range(many):
        say(f"round {number + 1} of {many}")
        for key in tasks() if number % 2 else reversed(tasks()):
            take(key, partial(measure, *key), results, missing)
    return results


def served(results: Results, missing: dict[Key, str]) -> None:
    """Measure what needs a server: the deploy to a bucket, and pages through the edge."""
    from tests.servers import registry
    from tests.servers.base import MissingServer
    from tests.servers.s3 import S3
    from tests.servers.varnish import Varnish

    take(("deploy", OURS), lambda: measure("deploy", OURS, registry.get(S3).urls()["s3"]), results, missing)
    try:
        varnish = registry.get(Varnish)
    except MissingServer as error:
        missing[EDGE] = str(error)
        return
    take(EDGE, lambda: pages(varnish), results, missing)


def pages(varnish: Any) -> dict[str, Any]:
    """Return what the shop's front page and the admin's login page cost through the edge."""
    from benchmarks import _cdn_edge
    from benchmarks._cdn_subjects import esbuild
    from benchmarks._cdn_worker import PACKAGES
    from noa_perf.cdn.pipeline.sources import found

    html = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks._cdn_pages"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    if html.returncode:
        raise Missing((html.stderr.strip().splitlines() or ["no word"])[-1])
    wanted: dict[str, str] = json.loads(html.stdout.splitlines()[-1])
    from benchmarks._cdn_pages import prepare

    prepare()
    return _cdn_edge.measure(varnish, wanted, found(()), esbuild(PACKAGES))


def middle(results: Results, key: Key, figure: Callable[[dict[str, Any]], float]) -> float:
    """Return the median over the rounds."""
    return float(statistics.median(figure(one) for one in results[key]))


def ratio(results: Results, key: Key, base: Key, figure: str) -> float:
    """Return how many times ``base``'s figure is the subject's, round by round: the median."""
    pairs = zip(results[key], results[base], strict=True)
    return float(statistics.median(theirs[figure] / own[figure] for own, theirs in pairs))


def weight(results: Results, tool: str) -> int:
    """Return the bytes of all scripts."""
    return sum(results["javascript", tool][0]["bytes"])


def mean(ratios: Iterable[float]) -> float:
    """Return the geometric mean: half as large and twice as large make no difference together."""
    return math.exp(statistics.fmean(math.log(each) for each in ratios))


def against(results: Results, format_: str) -> float:
    """Return the bytes of a format beside JPEG's: the mean over the pictures."""
    pictures = results["images", OURS][0]["pictures"].values()
    return mean(each[format_] / each["jpeg"] for each in pictures)


def script_table(results: Results) -> list[str]:
    """Return the table of scripts."""
    lines = [
        "| bootstrap, d3, react | bytes | beside terser | seconds | terser's time is | odd scripts gone wrong |",
        "| --- |" + " ---: |" * 5,
    ]
    base = ("javascript", "terser")
    for tool in TOOLS:
        key = ("javascript", tool.name)
        if key not in results:
            continue
        beside = f"{weight(results, tool.name) / weight(results, 'terser'):.3f}" if base in results else "-"
        times = f"{ratio(results, key, base, 'seconds'):.1f}×" if base in results else "-"
        odd = results.get(("edges", tool.name))
        wrong = f"{len(odd[0]['wrong'])} of {odd[0]['asked']}" if odd else "-"
        seconds = middle(results, key, itemgetter("seconds"))
        lines.append(
            f"| {tool.title} | {weight(results, tool.name):,} | {beside} | {seconds:.2f} | {times} | {wrong} |"
        )
    return lines


def image_table(results: Results) -> list[str]:
    """Return the table of pictures."""
    lines = ["| as good as JPEG 82 | JPEG | AVIF | WebP |", "| --- |" + " ---: |" * 3]
    for name, sizes in results["images", OURS][0]["pictures"].items():
        cells = [f"{sizes[each]:,} ({sizes[each] / sizes['jpeg']:.2f})" for each in ("avif", "webp")]
        lines.append(f"| {name} | {sizes['jpeg']:,} | " + " | ".join(cells) + " |")
    means = [f"{against(results, each):.3f}" for each in ("avif", "webp")]
    return [*lines, "| geometric mean of the shares | 1 | " + " | ".join(means) + " |"]


def build_table(results: Results) -> list[str]:
    """Return the table of builds."""
    lines = ["| collectstatic | first | one file changed | served, bytes |", "| --- |" + " ---: |" * 3]
    for storage in STORAGES:
        key = ("build", storage.name)
        if key in results:
            first, second = (middle(results, key, itemgetter(what)) for what in ("first", "second"))
            lines.append(f"| {storage.title} | {first:.2f} s | {second:.2f} s | {results[key][0]['served']:,} |")
    return lines


def edge_table(results: Results) -> list[str]:
    """Return the table of pages through the edge."""
    from benchmarks._cdn_edge import VISITORS

    lines = [
        f"| assets of a page, {VISITORS} visitors | bytes for each | requests at the origin |",
        "| --- | ---: | ---: |",
    ]
    for page, figures in results[EDGE][0].items():
        for which, place in (("as collected", 0), ("built, through Varnish", 1)):
            lines.append(f"| {page}, {which} | {figures['bytes'][place]:,} | {figures['asked'][place]} |")
    return lines


def deploy_line(results: Results) -> str:
    """Return what the deploys did."""
    told = results["deploy", OURS][0]
    first, again = told["first"], told["again"]
    return (
        f"A deploy of {told['assets']:,} assets to an empty bucket made {first['requests']:,} requests; the same "
        f"assets again made {again['requests']} ({again['seconds']:.1f} s)."
    )


def page(results: Results, missing: dict[Key, str]) -> str:
    """Return all tables with what they were measured on."""
    parts = [
        [f"{interpreter()}, {len(results['javascript', 'esbuild'])} rounds."],
        script_table(results),
        image_table(results),
        build_table(results),
        [deploy_line(results)],
        edge_table(results) if EDGE in results else [],
        [f"Missing: {kind}, {name} ({why})." for (kind, name), why in missing.items()],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def interpreter() -> str:
    """Return what this runs on."""
    return f"Python {platform.python_version()}, Django {django.get_version()}"


def rows(results: Results) -> list[dict[str, Any]]:
    """Return a row for each thing measured, with the figures of each round."""
    return [{"subject": name, "kind": kind, "rounds": told} for (kind, name), told in results.items()]


def bars(results: Results) -> list[Bar]:
    """Return what noa_perf has to reach."""
    esbuild, terser = ("javascript", "esbuild"), ("javascript", "terser")
    wrong = sum(len(results["edges", name][0]["wrong"]) for name in ("esbuild", "tdewolff"))
    found = [
        Bar(
            "bytes of scripts by esbuild, times terser's", weight(results, "esbuild") / weight(results, "terser"), 1.04
        ),
        Bar("terser's time, times esbuild's", ratio(results, esbuild, terser, "seconds"), 20, at_least=True),
        Bar("odd scripts that print something else", wrong, 0),
        Bar("AVIF as good as JPEG 82, share of its bytes", against(results, "avif"), 0.72),
        Bar("WebP as good as JPEG 82, share of its bytes", against(results, "webp"), 0.85),
        Bar(
            "a build with one file changed, share of the first one's time",
            middle(results, ("build", OURS), lambda one: float(one["second"] / one["first"])),
            0.1,
        ),
        Bar("requests of a deploy of 5,000 unchanged assets", results["deploy", OURS][0]["again"]["requests"], 9),
    ]
    for name, figures in results.get(EDGE, [{}])[0].items():
        (was, now), (before, after) = figures["bytes"], figures["asked"]
        found += [
            Bar(f"{name}: bytes of its assets saved", 1 - now / was, 0.6, at_least=True),
            Bar(f"{name}: requests at the origin saved", 1 - after / before, 0.8, at_least=True),
        ]
    return found


def lost(missing: dict[Key, str]) -> list[Key]:
    """Return what no verdict can be given without."""
    needed = [
        *(("javascript", name) for name in ("esbuild", "tdewolff", "terser")),
        *(("edges", name) for name in ("esbuild", "tdewolff")),
        ("images", OURS), ("build", OURS), ("deploy", OURS),
    ]  # fmt: skip
    return [each for each in needed if each in missing]


def main() -> int:
    """Measure, print, and, if asked to, write; return the exit code."""
    chosen = options(__doc__, ROUNDS)
    from tests.servers import registry
    from tests.servers.base import MissingServer
    from tests.servers.node import Node

    missing: dict[Key, str] = {}
    try:
        registry.get(Node).packages()
        results = rounds(chosen.rounds, missing)
        served(results, missing)
    except (MissingServer, subprocess.CalledProcessError) as error:
        say(str(error))
        return 2
    finally:
        registry.stop_all()
    for kind, name in lost(missing):
        say(f"{kind}, {name}, could not be measured: {missing[kind, name]}")
        return 2
    text = page(results, missing)
    if chosen.write:
        write("cdn", text)
    more = {"interpreter": interpreter(), "missing": {f"{kind}, {name}": why for (kind, name), why in missing.items()}}
    return _verdict.end(chosen.format, text, rows(results), bars(results), **more)


if __name__ == "__main__":
    sys.exit(main())
