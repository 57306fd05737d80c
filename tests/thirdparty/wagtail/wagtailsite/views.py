"""The search page that ``wagtail start`` writes."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.http import HttpRequest
from django.template.response import TemplateResponse
from wagtail.models import Page


def search(request: HttpRequest) -> TemplateResponse:
    """Find published pages."""
    search_query = request.GET.get("query")
    search_results = Page.objects.live().search(search_query) if search_query else Page.objects.none()
    search_results = Paginator(search_results, 10).get_page(request.GET.get("page", 1))
    context = {"search_query": search_query, "search_results": search_results}
    return TemplateResponse(request, "wagtailsite/search.html", context)
