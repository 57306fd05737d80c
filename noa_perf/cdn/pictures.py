"""``<picture>``: every variant that a browser may choose from, and the space that it takes before it is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

ORDER = ("image/avif", "image/webp")
"""Browsers take the first that they know."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One variant, as a page links to it."""

    url: str
    type: str
    width: int
    """Pixels."""


def markup(
    src: str, variants: Iterable[Shown], *, alt: str, width: int | None, height: int | None,
    sizes: str, lazy: bool, attributes: Mapping[str, Any],
) -> SafeString:  # fmt: skip
    """Return ``<picture>`` with a source for each type, or ``<img>`` alone where there are no variants."""
    width, height, attributes = _space(width, height, attributes)
    if not sizes and width:
        sizes = f"(max-width: {width}px) 100vw, {width}px"
    own = {
        "src": src, "alt": alt, "width": width, "height": height,
        **({"loading": "lazy"} if lazy else {"fetchpriority": "high"}), "decoding": "async", **attributes,
    }  # fmt: skip
    pairs = [(name.replace("_", "-"), value) for name, value in own.items() if value is not None]
    image = format_html("<img{}>", format_html_join("", ' {}="{}"', pairs))
    listed = list(variants)
    sources = [
        format_html('<source type="{}" srcset="{}" sizes="{}">', kind, _srcset(some), sizes)
        for kind in ORDER
        if (some := sorted((each for each in listed if each.type == kind), key=lambda each: each.width))
    ]
    if not sources:
        return image
    joined = format_html_join("", "{}", ((each,) for each in sources))
    return format_html("<picture>{}{}</picture>", joined, image)


def _space(
    width: int | None, height: int | None, attributes: Mapping[str, Any]
) -> tuple[int | None, int | None, dict[str, Any]]:
    """Return the space that a picture takes, and what is left of the attributes: one side alone gives the other."""
    rest = {name: value for name, value in attributes.items() if name not in {"width", "height"}}
    given = {name: value for name in ("width", "height") if (value := attributes.get(name)) not in {None, ""}}
    if not given:
        return width, height, rest
    if not all(str(value).isdecimal() for value in given.values()):
        # "50%" is no number of pixels, and browsers keep the proportions where it stands alone.
        return None, None, rest | given
    wide, high = (int(given[name]) if name in given else None for name in ("width", "height"))
    if width and height and wide is None and high is not None:
        wide = max(1, round(high * width / height))
    elif width and height and high is None and wide is not None:
        high = max(1, round(wide * height / width))
    return wide, high, rest


def _srcset(variants: Iterable[Shown]) -> str:
    return ", ".join(f"{each.url.replace(' ', '%20').replace(',', '%2C')} {each.width}w" for each in variants)
