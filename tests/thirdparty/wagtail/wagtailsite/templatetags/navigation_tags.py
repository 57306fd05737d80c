"""Menu, breadcrumbs and footer, as wagtail's tutorial and its demonstration site have them."""

from __future__ import annotations

from typing import Any

from django import template
from wagtail.models import Page, Site

from wagtailsite.models import FooterText

register = template.Library()


@register.simple_tag(takes_context=True)
def get_site_root(context: dict[str, Any]) -> Page:
    """Return the home page."""
    return Site.find_for_request(context["request"]).root_page


def has_menu_children(page: Page) -> bool:
    """Tell whether a page has pages below it that belong into the menu."""
    return page.get_children().live().in_menu().exists()


@register.inclusion_tag("wagtailsite/tags/top_menu.html", takes_context=True)
def top_menu(context: dict[str, Any], parent: Page, calling_page: Page | None = None) -> dict[str, Any]:
    """Show the pages below the home page."""
    menuitems = parent.get_children().live().in_menu()
    for menuitem in menuitems:
        menuitem.show_dropdown = has_menu_children(menuitem)
        menuitem.active = calling_page.url_path.startswith(menuitem.url_path) if calling_page else False
    return {"calling_page": calling_page, "menuitems": menuitems, "request": context["request"]}


@register.inclusion_tag("wagtailsite/tags/top_menu_children.html", takes_context=True)
def top_menu_children(context: dict[str, Any], parent: Page) -> dict[str, Any]:
    """Show the pages below a page of the menu."""
    return {"menuitems_children": parent.get_children().live().in_menu(), "request": context["request"]}


@register.inclusion_tag("wagtailsite/tags/breadcrumbs.html", takes_context=True)
def breadcrumbs(context: dict[str, Any]) -> dict[str, Any]:
    """Show the way from the home page."""
    page = context.get("page")
    if page is None or page.depth <= 2:
        return {"ancestors": (), "request": context["request"]}
    ancestors = Page.objects.ancestor_of(page, inclusive=True).filter(depth__gt=1)
    return {"ancestors": ancestors, "request": context["request"]}


@register.inclusion_tag("wagtailsite/tags/footer_text.html", takes_context=True)
def get_footer_text(context: dict[str, Any]) -> dict[str, Any]:
    """Show the words at the foot."""
    footer_text = context.get("footer_text", "")
    if not footer_text:
        instance = FooterText.objects.filter(live=True).first()
        footer_text = instance.body if instance else ""
    return {"footer_text": footer_text}
