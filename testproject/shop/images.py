"""Product images, drawn on the fly: the shop ships no photographs."""

from __future__ import annotations

from zlib import crc32

from django.http import HttpRequest, HttpResponse

DRAWING = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 80 80">'
    '<rect width="80" height="80" fill="hsl({hue} 45% 82%)"/>'
    '<circle cx="{x}" cy="{y}" r="{r}" fill="hsl({hue} 50% 45%)"/>'
    '<path d="M0 {y} Q40 {x} 80 {y} V80 H0Z" fill="hsl({other} 45% 60% / .7)"/></svg>'
)


def image(request: HttpRequest, name: str) -> HttpResponse:
    """Draw the image of that name; the same name gives the same drawing."""
    dice = crc32(name.encode())
    hue, x, y, r = dice % 360, 20 + dice // 7 % 40, 25 + dice // 11 % 30, 12 + dice // 13 % 16
    drawing = DRAWING.format(hue=hue, other=(hue + 40) % 360, x=x, y=y, r=r)
    return HttpResponse(drawing, content_type="image/svg+xml")
