"""The dashboard's pages: they ask the panels for blocks, and draw, export or refuse."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass, replace
from enum import Enum
from typing import Any

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from noa_perf.core import panels
from noa_perf.core.exceptions import NoaPerfError
from noa_perf.core.muting import IGNORED, muted
from noa_perf.core.panels import Block, NotThere, Page, State, Table, Text, Verdict, Window

logger = logging.getLogger("noa_perf.dashboard")

WINDOWS = {"1h": 3_600, "6h": 21_600, "24h": 86_400, "7d": 604_800}


def may_view(request: HttpRequest) -> bool:
    """Tell whether the user may see the dashboard."""
    return bool(request.user.has_perm("noa_perf.view_dashboard")) or may_operate(request)


def overview(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """Show a verdict a line for each app."""
    window = _window(request)
    sections = [
        (panel, _safely(panel.title, lambda panel=panel: panel.verdicts(window))) for panel in _allowed(request)
    ]
    wanted = request.GET.get("format")
    if wanted == "json":
        return JsonResponse({panel.name: [_plain(one) for one in found] for panel, found in sections})
    if wanted == "csv":
        return _written("overview", _VERDICT_COLUMNS, [_line(panel, one) for panel, found in sections for one in found])
    return _drawn(request, site, "overview", window, title=_("Overview"), sections=sections)


def page(request: HttpRequest, site: AdminSite, slug: str, key: str = "") -> HttpResponse:
    """Show a page, or the page of one thing on it; as CSV or JSON if asked for."""
    _allowed(request)
    found = panels.page(slug)
    if found is None or (key and found.detail is None):
        raise Http404(_("There is no such page."))
    window = _window(request)
    try:
        blocks = [_for(request, block) for block in _blocks(found, key, window)]
    except NotThere as error:
        raise Http404(str(error)) from None
    wanted = request.GET.get("format")
    if wanted == "json":
        return JsonResponse({"page": slug, "key": key, "blocks": [_plain(block) for block in blocks]})
    if wanted == "csv":
        return _csv(request, blocks, "-".join(part for part in (slug, key) if part))
    return _drawn(request, site, "page", window, title=found.title, page=found, key=key, blocks=blocks)


def may_operate(request: HttpRequest) -> bool:
    """Tell whether the user may do what changes something, and see what is private."""
    return bool(request.user.has_perm("noa_perf.operate_dashboard"))


def _for(request: HttpRequest, block: Block) -> Block:
    """Return a block as this user may see it."""
    if not isinstance(block, Table) or not any(column.private for column in block.columns) or may_operate(request):
        return block
    hidden = _("(hidden: needs the permission to operate)")
    rows = [
        replace(
            row,
            cells=[hidden if column.private else cell for column, cell in zip(block.columns, row.cells, strict=True)],
        )
        for row in block.rows
    ]
    return replace(block, rows=rows)


def _allowed(request: HttpRequest) -> Sequence[panels.Panel]:
    setattr(request, IGNORED, True)
    if not may_view(request):
        raise PermissionDenied
    return panels.panels()


def _window(request: HttpRequest) -> Window:
    name = request.GET.get("window", "1h")
    if name not in WINDOWS:
        name = "1h"
    until = time.time()
    return Window(until - WINDOWS[name], until, name)


def _blocks(found: Page, key: str, window: Window) -> Sequence[Block]:
    def make() -> Sequence[Block]:
        return found.detail(key, window) if key and found.detail is not None else found.blocks(window)

    return _safely(found.title, make)


def _safely(title: panels.Title, make: Any) -> Sequence[Any]:
    """Return what ``make`` returns; what it cannot show is said in its place, and never breaks the page."""
    try:
        with muted():
            return list(make())
    except NotThere:
        raise
    except NoaPerfError as error:
        return [Verdict(state=State.UNKNOWN, title=str(title), text=str(error))]
    except Exception:
        logger.exception("the page %s could not be made", title)
        text = _("This could not be shown; the reason is in the log of noa_perf.dashboard.")
        return [Verdict(state=State.UNKNOWN, title=str(title), text=text)]


def _drawn(request: HttpRequest, site: AdminSite, name: str, window: Window, **context: Any) -> HttpResponse:
    home = reverse("admin:noa_perf_dashboard_changelist", current_app=site.name)
    tabs = [("", _("Overview"))] + [(one.slug, one.title) for panel in panels.panels() for one in panel.pages]
    context |= {
        **site.each_context(request),
        "window": window,
        "windows": list(WINDOWS),
        "home": home,
        "tabs": tabs,
        "current": getattr(context.get("page"), "slug", ""),
        "collected": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(window.until)),
    }
    request.current_app = site.name
    return TemplateResponse(request, f"noa_perf/dashboard/{name}.html", context)


def _csv(request: HttpRequest, blocks: Sequence[Block], name: str) -> HttpResponse:
    tables = panels.tables(blocks)
    number = request.GET.get("table", "0")
    trouble = next((block for block in blocks if isinstance(block, Verdict) and block.state is State.UNKNOWN), None)
    if trouble is not None and not tables:
        return HttpResponse(trouble.text, status=503, content_type="text/plain; charset=utf-8")
    if not number.isdecimal() or len(number) > 3 or int(number) >= len(tables):
        raise Http404(_("There is no such table."))
    table = tables[int(number)]
    return _written(name, [column.title for column in table.columns], [row.cells for row in table.rows])


_VERDICT_COLUMNS = ("app", "state", "what", "text", "number", "threshold", "cure")


def _line(panel: panels.Panel, one: Verdict) -> Sequence[panels.Cell]:
    return panel.name, one.state.value, one.title, one.text, one.number, one.threshold, one.cure


def _written(name: str, titles: Sequence[str], rows: Sequence[Sequence[panels.Cell]]) -> HttpResponse:
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    writer = csv.writer(response)
    writer.writerow(titles)
    writer.writerows([[_safe_cell(cell) for cell in row] for row in rows])
    return response


def _safe_cell(cell: Any) -> Any:
    # A spreadsheet runs what begins like a formula; a quote in front makes it text.
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def _plain(value: Any) -> Any:
    """Return a block as JSON-serialisable data, with its type's name."""
    if isinstance(value, Text):
        return {"block": "text", "title": value.title, "body": value.body}
    if is_dataclass(value) and not isinstance(value, type):
        return {"block": type(value).__name__.lower(), **_values(asdict(value))}
    return value


def _values(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _values(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_values(value) for value in data]
    return data.value if isinstance(data, Enum) else data
