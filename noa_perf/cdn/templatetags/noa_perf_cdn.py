"""``{% picture %}``: a static file or an uploaded picture, with its variants."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import template
from django.contrib.staticfiles.storage import staticfiles_storage
from django.db.models.fields.files import ImageFieldFile
from django.templatetags.static import static
from django.utils.safestring import SafeString

from noa_perf.cdn.fields import PictureFieldFile
from noa_perf.cdn.manifest import Picture
from noa_perf.cdn.pictures import Shown, markup

register = template.Library()


@register.simple_tag
def picture(
    image: Any, *, alt: str, widths: str | int = "", sizes: str = "", priority: bool = False, **attributes: Any
) -> SafeString:
    """Write ``<picture>`` for a static file's path, or for the file of an image field; nothing for an empty one.

    ``alt`` is what it says to whoever does not see it; empty for decoration. ``widths`` chooses among the variants
    there are ("480 960"); ``sizes`` is how wide it is shown (CSS), by default its own width at most. It is loaded when
    it comes near, unless ``priority`` says that it is seen first. Further keywords become attributes; ``class`` is
    written so, and ``data_x`` becomes ``data-x``.
    """
    if not image:
        return SafeString("")
    wanted = {int(each) for each in str(widths).replace(",", " ").split()}
    if isinstance(image, ImageFieldFile):
        src, width, height, variants = _uploaded(image)
    else:
        src, width, height, variants = _static(str(image))
    chosen = [each for each in variants if not wanted or each.width in wanted]
    return markup(
        src, chosen, alt=alt, width=width, height=height, sizes=sizes, lazy=not priority, attributes=attributes
    )


_Facts = tuple[str, int | None, int | None, Iterable[Shown]]


def _static(path: str) -> _Facts:
    find = getattr(staticfiles_storage, "picture", None)
    known: Picture | None = find(path) if find else None
    if known is None:
        return static(path), None, None, ()
    address = staticfiles_storage.address  # type: ignore[attr-defined]
    variants = [Shown(address(each.name), each.type, each.width) for each in known.variants]
    return static(path), known.width, known.height, variants


def _uploaded(file: ImageFieldFile) -> _Facts:
    if isinstance(file, PictureFieldFile) and (known := file.picture()) is not None:
        variants = [Shown(file.storage.url(each.name), each.type, each.width) for each in known.variants]
        return file.url, known.width, known.height, variants
    # Its size is known without opening it only where the model keeps it.
    field: Any = file.field
    width = getattr(file.instance, field.width_field, None) if field.width_field else None
    height = getattr(file.instance, field.height_field, None) if field.height_field else None
    return file.url, width, height, ()
