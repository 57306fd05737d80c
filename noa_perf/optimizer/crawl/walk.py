"""Asks for one page after another, and looks in each for the next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch

from noa_perf.core.exceptions import CommandInputError
from noa_perf.optimizer import visits
from noa_perf.optimizer.crawl import addresses, links, patterns
from noa_perf.optimizer.crawl.addresses import Address, NoAddressError
from noa_perf.optimizer.crawl.frontier import Frontier, LeftAlone
from noa_perf.optimizer.crawl.links import Link
from noa_perf.optimizer.visits import Visit, Visitor

MAX_HTML = 1024 * 1024
"""Bytes of a page in which links are looked for."""
HTML = ("text/html", "application/xhtml+xml")


@dataclass(frozen=True, slots=True)
class Plan:
    """How far to walk, and from where."""

    pages: int
    starts: tuple[str, ...] = ()
    """Addresses that a person named; without any, the root and every pattern without arguments."""
    skip: tuple[str, ...] = ()
    """Shell patterns of addresses to leave alone."""


@dataclass(slots=True)
class Walk:
    """What came of it, besides the visits."""

    frontier: Frontier
    to_login: LeftAlone = field(default_factory=LeftAlone)
    """Pages that sent their visitor to the login."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        alone = {
            reason: {"count": one.count, "examples": one.examples} for reason, one in self.frontier.left_alone.items()
        }
        login = {"count": self.to_login.count, "examples": self.to_login.examples}
        return {"left_alone": dict(sorted(alone.items())), "sent_to_login": login}


def plan(pages: Any, starts: list[str], skip: list[str]) -> Plan:
    """Return the plan behind a command's options; raise CommandInputError, naming option and cure, at bad ones."""
    try:
        wanted = int(pages)
    except ValueError:
        wanted = 0
    if wanted < 1:
        raise CommandInputError(f"--crawl {pages!r} is no number of pages. Write a whole number from 1 on: --crawl 50")
    for pattern in skip:
        if not pattern.startswith(("/", "*")):
            raise CommandInputError(f"--skip {pattern!r} matches no path. Begin it with / or *: --skip '*{pattern}*'")
    return Plan(wanted, tuple(starts), tuple(skip))


def walk(plan: Plan, visitor: Visitor, into: Walk) -> Iterator[dict[str, Any]]:
    """Yield the record of each page as it was asked for."""
    frontier, host = into.frontier, visits.host()
    _start(plan, frontier)
    for _ in range(plan.pages):
        address = frontier.take()
        if address is None:
            break
        visit = visitor.visit(str(address))
        login = _login_of(visit, address, host)
        if login is not None:
            into.to_login.add(str(address))
            frontier.behind_login(address, login)
            frontier.offer(login, linked=True)
        else:
            _follow(frontier, visit, str(address), host)
        yield visit.record
    frontier.close()


def _start(plan: Plan, frontier: Frontier) -> None:
    for url in plan.starts:
        path, _, query = url.partition("#")[0].partition("?")
        frontier.offer(Address(path, query), linked=True, named=True)
    if not plan.starts:
        frontier.offer(Address("/"), linked=True)
        for path in patterns.without_arguments():
            frontier.offer(Address(path), linked=False)


def _follow(frontier: Frontier, visit: Visit, page: str, host: str) -> None:
    base, found = _links(visit)
    for link in found:
        try:
            address = addresses.parse(link.href, page, base, host)
        except NoAddressError as error:
            frontier.leave(str(error), link.href)
            continue
        if link.acts or link.download:
            frontier.leave("action" if link.acts else "file", str(address))
        else:
            frontier.offer(address, linked=True)


def _links(visit: Visit) -> tuple[str, list[Link]]:
    """Return the base of a page's links, and the links; a redirect is a page with one."""
    response = visit.response
    if response is None:
        return "", []
    if location := _redirect(response):
        return "", [Link(location)]
    kind = response.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind not in HTML or "attachment" in response.get("Content-Disposition", ""):
        return "", []
    try:
        return links.read(visit.body[:MAX_HTML].decode(response.charset or "utf-8", errors="replace"))
    except LookupError:  # the page names an encoding that there is not
        return "", []


def _redirect(response: Any) -> str:
    return str(response.get("Location", "")) if 300 <= response.status_code < 400 else ""


def _login_of(visit: Visit, address: Address, host: str) -> Address | None:
    """Return the login that a page redirects to: LOGIN_URL, or a page that is to lead back here."""
    location = _redirect(visit.response) if visit.response is not None else ""
    try:
        target = addresses.parse(location, str(address), "", host)
    except NoAddressError:
        return None
    back = parse_qs(target.query).get(REDIRECT_FIELD_NAME, [""])[0]
    leads_back = urlsplit(back).path.endswith(address.path)
    meant = location and target.path != address.path and (leads_back or target.path == _login())
    return Address(target.path) if meant else None


def _login() -> str:
    try:
        return str(resolve_url(settings.LOGIN_URL)).partition("?")[0]
    except NoReverseMatch:
        return ""
