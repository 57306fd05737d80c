"""Measure the shop as it is, explain it, mend it, and measure it again: ``python -m testproject.demo``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from . import report
from .assets import assets
from .children import ROOT, DemoError
from .phases import Phase, compare, measure
from .pooling import pooling
from .seeding import prepare, run_folder, settle
from .siege import as_table, siege


def main(argv: list[str] | None = None) -> int:
    """Run the demo; return its exit code."""
    options = _options(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    # A shell that starts us in the background has us ignore it; what says how to end us would then be wrong.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if options.postgres:
            _pool(options)
            return 0
        with run_folder(options.folder) as run:
            _run(options, run)
    except DemoError as error:
        sys.stderr.write(f"The demo failed: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        return 130
    return 0


def _run(options: argparse.Namespace, run: Path) -> None:
    """Measure both twins, the mended one cached and besieged too, and tell; serve the dashboard, if asked to."""
    seeded = prepare(options.folder, run, options.scale, options.seed)
    from . import page
    from .serving import serve
    from .workload import record

    workload = record(options.requests)
    settle()
    before = measure("as_is", "As it is", seeded, run, workload)
    after = measure("mended", "Mended", seeded, run, workload)
    cached = measure("mended", "And cached", seeded, run, workload, "cached")
    for mended in (after, cached):
        compare(before, mended, workload.measured)
    facts = page.facts(options.scale, options.seed, workload)
    attacked = siege(seeded, run, workload)
    # Whoever asks for fewer requests wants to see that it works, and no medians.
    files = assets(seeded, run) if options.requests is None else assets(seeded, run, rounds=1)
    kept = page.keep(page.html(before, after, cached, attacked, files, facts), run, options.folder)
    if options.format == "json":
        figures = (before.figures, after.figures, cached.figures)
        print(report.as_json(*figures, attacked.as_dict(), files.as_dict(), before.findings))
    else:
        _print(before, after, cached, options.findings)
        print("\n" + as_table(attacked))
        print("\n" + files.as_table())
    print(f"\nThe same as a page: {kept}", file=sys.stderr if options.format == "json" else sys.stdout, flush=True)
    if options.serve:
        serve(seeded, run, workload)


def _pool(options: argparse.Namespace) -> None:
    """Measure ways to connect to PostgreSQL, and tell."""
    found = pooling(options.scale, options.seed, options.requests)
    print(json.dumps(found.as_dict(), indent=2) if options.format == "json" else "\n" + found.as_table())


def _print(before: Phase, after: Phase, cached: Phase, shown: int) -> None:
    """Print for a person."""
    found = len(before.findings)
    print("\nWhat noa_perf found, dearest first:\n\n" + report.as_list(before.findings[:shown]))
    if found > shown:
        print(f"\n... and {found - shown} more: --findings {found} prints them all.")
    print(f"\nFindings: {found} as it is, {len(after.findings)} mended. The same requests, as measured now:\n")
    print(report.as_table(before.figures, after.figures, cached.figures))
    print("\n" + report.saved(after.figures, cached.figures))


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m testproject.demo", description=__doc__)
    parser.add_argument("--format", choices=("table", "json"), default="table", help="how to print (default: table)")
    parser.add_argument("--serve", action="store_true", help="leave the shop served afterwards, with its dashboard")
    parser.add_argument(
        "--postgres", action="store_true", help="instead: pooled connections to a PostgreSQL that is started for it"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="how much data (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="which data (default: 1)")
    parser.add_argument("--requests", type=int, help="how many requests in each phase (default: as recorded)")
    parser.add_argument("--findings", type=int, default=25, help="how many to print (default: 25)")
    parser.add_argument("--folder", type=Path, default=ROOT / ".demo", help="where the data is kept")
    options = parser.parse_args(argv)
    if options.serve and options.format == "json":
        parser.error("--serve waits for a person until Ctrl-C, --format json prints for a program: choose one.")
    return options


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """End as on Ctrl-C, so that the same cleaning is done."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
