"""What the assets show on the dashboard: whether what is live is whole, what it weighs, and what was published when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from noa_perf.cdn import service
from noa_perf.cdn.exceptions import CdnError, TargetError
from noa_perf.cdn.manifest import Manifest
from noa_perf.cdn.patience import within
from noa_perf.core.panels import (
    Block,
    Column,
    Kind,
    Link,
    Page,
    Panel,
    Row,
    Stat,
    State,
    Table,
    Text,
    Verdict,
    Window,
    register,
)

SLUG = "assets"


def install() -> None:
    """Register the panel."""
    page = Page(slug=SLUG, title=gettext_lazy("Assets"), blocks=blocks, order=80)
    register(Panel(name="cdn", title=gettext_lazy("Assets"), verdicts=verdicts, pages=(page,), order=50))


def verdicts(window: Window) -> Sequence[Verdict]:
    """Say which release is live, and how much of its text is sent compressed."""
    title = _("Assets")
    try:
        live, manifest = _live()
    except CdnError as error:
        return [Verdict(state=State.UNKNOWN, title=title, text=str(error))]
    if manifest is None:
        text = _("Nothing is published: files are linked by their plain names.")
        return [Verdict(state=State.UNKNOWN, title=title, text=text, cure="manage.py cdn_deploy")]
    sent, plain = _bytes(manifest)
    return [
        Verdict(
            state=State.GOOD,
            title=title,
            text=_("Release %(release)s is live; its files are named by content, and compressed.") % {"release": live},
            number=_("%(share)s fewer bytes") % {"share": f"{1 - sent / plain:.0%}" if plain else "0%"},
            evidence=Link(page=SLUG),
        )
    ]


def blocks(window: Window) -> Sequence[Block]:
    """Return the live release by type, and all releases."""
    try:
        _live_id, manifest = _live()
        listed = within(service.listed, service.releases().target.where)
    except CdnError as error:
        return [Text(title=_("Assets"), body=str(error))]
    if manifest is None:
        return [Text(title=_("Assets"), body=_("Nothing is published yet. Run manage.py cdn_deploy."))]
    sent, plain = _bytes(manifest)
    return [
        Stat(title=_("Files"), value=len(manifest.paths)),
        Stat(title=_("Bytes as they are"), value=plain),
        Stat(title=_("Bytes with brotli"), value=sent, note=_("what most browsers are sent")),
        Stat(title=_("Pictures with variants"), value=len(manifest.pictures)),
        _types(manifest),
        _releases(listed),
    ]


def _live() -> tuple[str, Manifest | None]:
    """Return what this process knows of the live release: the overview waits for no place."""
    known = service.storage().live
    manifest = known.manifest()
    if known.failed:
        raise TargetError(f"{service.releases().target.where} cannot be read; the log says why.")
    return known.release, manifest


def _bytes(manifest: Manifest) -> tuple[int, int]:
    """Return the bytes of all files as brotli, where there is such a form, and as they are."""
    assets = manifest.assets.values()
    return sum(each.encoded.get("br", each.blob).size for each in assets), sum(each.blob.size for each in assets)


def _types(manifest: Manifest) -> Table:
    sums: dict[str, list[int]] = {}
    for asset in manifest.assets.values():
        row = sums.setdefault(asset.type.partition(";")[0], [0, 0, 0, 0])
        forms = (
            1,
            asset.blob.size,
            asset.encoded.get("br", asset.blob).size,
            asset.encoded.get("gzip", asset.blob).size,
        )
        for place, value in enumerate(forms):
            row[place] += value
    rows = sorted(sums.items(), key=lambda item: -item[1][2])
    return Table(
        title=_("By type"),
        columns=[
            Column(title=_("type"), kind=Kind.CODE),
            Column(title=_("files"), kind=Kind.COUNT),
            Column(title=_("bytes"), kind=Kind.COUNT),
            Column(title=_("as brotli"), kind=Kind.COUNT),
            Column(title=_("as gzip"), kind=Kind.COUNT),
        ],
        rows=[Row(cells=[kind, *values]) for kind, values in rows],
    )


def _releases(listed: Sequence[dict[str, Any]]) -> Table:
    return Table(
        title=_("Releases"),
        columns=[
            Column(title=_("release"), kind=Kind.CODE),
            Column(title=_("went live"), kind=Kind.TIME),
            Column(title=_("files"), kind=Kind.COUNT),
            Column(title=_("bytes"), kind=Kind.COUNT),
            Column(title=_("state")),
        ],
        rows=[
            Row(cells=[row["release"], row["since"], row["files"], row["bytes"], _("live") if row["live"] else ""])
            for row in listed
        ],
        note=_("manage.py cdn_rollback makes another one live; so does the page Releases of the admin."),
    )
