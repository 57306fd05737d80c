"""``manage.py ratelimit_lists``: shows, imports, exports and changes the allow and deny lists."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from noa_perf.core.commands import ReportCommand, table
from noa_perf.ratelimit import audit, list_files, manual
from noa_perf.ratelimit.clients import Client
from noa_perf.ratelimit.exceptions import BadImport, RateLimitError
from noa_perf.ratelimit.models import ListEntry


class Command(ReportCommand):
    """One thing at a time: shows, unless told to do something."""

    help = "Show, import, export and change the allow and deny lists."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add what can be done, and how."""
        super().add_arguments(parser)
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--import", dest="source", metavar="FILE", help="take over a file of one client a line")
        what.add_argument("--export", dest="target", metavar="FILE", help='write a list to a file ("-": stdout)')
        what.add_argument("--add", nargs="+", metavar="CLIENT", help="203.0.113.0/24, user:17, key:<hash>")
        what.add_argument("--remove", nargs="+", metavar="CLIENT", help="take clients off the list")
        parser.add_argument("--list", dest="listed", choices=ListEntry.List.values, help="which list")
        parser.add_argument("--replace", action="store_true", help="with --import: take all others off the list")
        parser.add_argument("--reason", default="", help="why; kept with each entry")
        parser.add_argument("--for", dest="span", metavar="TIME", help="with --add: until when, as 30d (default: ever)")
        parser.add_argument("--limit", type=int, default=100, help="entries to show (default: 100; 0: all)")
        parser.add_argument("--dry-run", action="store_true", help="say what would be done")

    def collect(self, **options: Any) -> dict[str, Any]:
        """Do what is asked for; return what came of it."""
        changes = {"import": options["source"], "export": options["target"], "add": options["add"]}
        changes["remove"] = options["remove"]
        chosen = next((name for name, value in changes.items() if value), "")
        if chosen and not options["listed"]:
            raise RateLimitError(f"--{chosen} needs to know which list. Add --list allow or --list deny.")
        do = {"import": self._import, "export": self._export, "add": self._add, "remove": self._remove, "": _shown}
        return {"done": chosen, "list": options["listed"], "dry_run": options["dry_run"], "findings": []} | do[chosen](
            options
        )

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Say what was done, or show the lists."""
        if report["done"] == "export":
            return
        if report["done"]:
            would = "would be " if report["dry_run"] else ""
            counts = ", ".join(
                f"{report[key]:,} {would}{key}" for key in ("added", "removed") if report.get(key) is not None
            )
            self.stdout.write(f"{report['list']} list: {counts}; {report['total']:,} on it.")
            return
        for name, many in report["counts"].items():
            self.stdout.write(f"{name} list: {many:,}")
        if report["entries"]:
            rows = [[entry[key] or "" for key in _SHOWN] for entry in report["entries"]]
            self.stdout.write("\n" + table(_SHOWN, rows))
        if report["left_out"]:
            self.stdout.write(f"and {report['left_out']:,} more: --limit 0 shows all.")

    def _import(self, options: dict[str, Any]) -> dict[str, Any]:
        source, listed = options["source"], options["listed"]
        clients = list_files.parse(_lines(source), source)
        reason = manual.why(options["reason"]) or f"imported from {Path(source).name}"[:200]
        done = list_files.take_over(clients, listed, reason, replace=options["replace"], dry=options["dry_run"])
        if not options["dry_run"]:
            audit.note(f"imported {done.added} and removed {done.removed} entries of", f"the {listed} list")
        total = done.kept + done.added
        return {"read": done.read, "added": done.added, "removed": done.removed, "total": total}

    def _export(self, options: dict[str, Any]) -> dict[str, Any]:
        rows = ListEntry.objects.in_force().filter(list=options["listed"]).order_by("kind", "value")
        lines = [row.client.text.removeprefix("ip:") for row in rows.iterator(chunk_size=5_000)]
        text = "".join(f"{line}\n" for line in lines)
        if options["target"] == "-":
            self.stdout.write(text, ending="")
        elif not options["dry_run"]:
            try:
                Path(options["target"]).write_text(text, encoding="utf-8")
            except OSError as error:
                raise RateLimitError(f"{options['target']} cannot be written: {error.strerror}.") from error
        return {"exported": len(lines)}

    def _add(self, options: dict[str, Any]) -> dict[str, Any]:
        clients = [Client.parse(one) for one in options["add"]]
        seconds = manual.length(options["span"]) if options["span"] else None
        expires = timezone.now() + dt.timedelta(seconds=seconds) if seconds else None
        reason = manual.why(options["reason"]) or "by command"
        added = 0
        for client in clients:
            if options["dry_run"]:
                added += not _rows(client, options["listed"]).exists()
                continue
            row, is_new = ListEntry.objects.update_or_create(
                list=options["listed"], kind=client.kind, value=client.value,
                defaults={"reason": reason, "expires": expires},
            )  # fmt: skip
            audit.note("added" if is_new else "changed", f"list entry {row.pk}")
            added += is_new
        return {"added": added, "total": _total(options["listed"])}

    def _remove(self, options: dict[str, Any]) -> dict[str, Any]:
        removed = 0
        for client in [Client.parse(one) for one in options["remove"]]:
            rows = _rows(client, options["listed"])
            for pk in rows.values_list("pk", flat=True):
                removed += 1
                if not options["dry_run"]:
                    audit.note("removed", f"list entry {pk}")
            if not options["dry_run"]:
                rows.delete()
        return {"removed": removed, "total": _total(options["listed"])}


_SHOWN = ("list", "kind", "value", "reason", "expires")


def _shown(options: dict[str, Any]) -> dict[str, Any]:
    rows = ListEntry.objects.in_force().order_by("list", "kind", "value")
    names = [options["listed"]] if options["listed"] else ListEntry.List.values
    rows = rows.filter(list__in=names)
    counts = {name: rows.filter(list=name).count() for name in names}
    shown = rows[: options["limit"]] if options["limit"] > 0 else rows
    entries = list(shown.values(*_SHOWN))
    return {"counts": counts, "entries": entries, "left_out": sum(counts.values()) - len(entries)}


def _rows(client: Client, listed: str) -> Any:
    return ListEntry.objects.filter(list=listed, kind=client.kind, value=client.value)


def _total(listed: str) -> int:
    return ListEntry.objects.in_force().filter(list=listed).count()


def _lines(source: str) -> list[str]:
    try:
        return sys.stdin.readlines() if source == "-" else Path(source).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise BadImport(f"{source} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise BadImport(f"{source} is no text in UTF-8 (byte {error.start}), so nothing was imported.") from error
