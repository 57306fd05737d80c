"""Pictures: upright, in sRGB, without metadata, in newer formats and several widths, each as good as it looks now."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata, util
from typing import TYPE_CHECKING, Any

from noa_perf.cdn.exceptions import BuildError

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger("noa_perf.cdn")

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
"""Files of which variants are made."""

TYPES = {"avif": "image/avif", "webp": "image/webp"}

REFERENCE = 82
"""The quality at which a JPEG looks as good as the original to most; variants are to look as good as that."""

FIXED = {"avif": 63, "webp": 80}
"""Qualities where scikit-image is not there to look: a little below what it finds for most photographs; the docs have
figures."""

_LONGEST = {"avif": 32_768, "webp": 16_383}
"""Pixels a side: what the format has room for, or what decoders take."""

_SPAN = {"avif": (30, 90), "webp": (40, 95)}
_SPEED = 6
_METHOD = 4


@dataclass(frozen=True, slots=True)
class Made:
    """One variant."""

    format: str
    width: int
    """Pixels."""
    height: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Processed:
    """A picture, and its variants by format, the narrowest first."""

    width: int
    """Pixels, once it is turned as its EXIF says."""
    height: int
    variants: tuple[Made, ...]


def version() -> str:
    """Return what makes pictures, and its version: results depend on it; empty where Pillow is not installed."""
    if util.find_spec("PIL") is None:
        return ""
    from PIL import features

    inner = " ".join(f"{name} {features.version(name)}" for name in ("webp", "avif"))
    looks = f"scikit-image {metadata.version('scikit-image')}" if searching() else "fixed"
    return f"pillow {metadata.version('pillow')} {inner} {looks}"


def searching() -> bool:
    """Tell whether qualities are searched for, picture by picture."""
    return util.find_spec("skimage") is not None


def processed(
    data: bytes, name: str, *, formats: Sequence[str], widths: Iterable[int], max_pixels: int
) -> Processed | None:
    """Return the variants of a picture; None where ``data`` is no picture, or a strange one.

    ``formats`` are ``avif`` and ``webp``; ``widths`` those of the variants in pixels, beside its own. Raises
    :class:`~noa_perf.cdn.exceptions.BuildError` for a picture of more than ``max_pixels``, all frames together: it is
    not unpacked.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            frames = int(getattr(image, "n_frames", 1))
            _refuse_bombs(image, frames, name, max_pixels)
            usable = [each for each in formats if max(image.size) <= _LONGEST[each]]
            if frames > 1:
                return _animated(image, data, usable)
            picture = _upright(image)
            return None if picture is None else _still(picture, data, usable, widths, is_webp=image.format == "WEBP")
    except BuildError:
        raise
    except Image.DecompressionBombError as error:
        raise BuildError(_bomb(name, str(error), max_pixels)) from error
    except Exception as error:  # whatever a decoder says to what is broken or cut off
        logger.warning("noa_perf.cdn: %s gets no variants (%s: %s).", name, type(error).__name__, error)
        return None  # it is published as it is, as broken as it was


def _still(picture: Image, data: bytes, formats: Sequence[str], widths: Iterable[int], *, is_webp: bool) -> Processed:
    wanted = [width for width in sorted(set(widths)) if width < picture.width] + [picture.width]
    made = [each for width in wanted for each in _variants(_resized(picture, width), formats)]
    sources = {each: _falling([one for one in made if one.format == each], data, is_webp=is_webp) for each in formats}
    return Processed(picture.width, picture.height, tuple(_winning(sources)))


def _refuse_bombs(image: Image, frames: int, name: str, max_pixels: int) -> None:
    pixels = image.width * image.height * frames
    if pixels > max_pixels:
        raise BuildError(_bomb(name, f"{pixels:,} pixels", max_pixels))


def _bomb(name: str, what: str, most: int) -> str:
    return (
        f"{name} has {what}, and NOA_PERF['CDN']['IMAGE_MAX_PIXELS'] is {most:,}: make it smaller, raise the setting, "
        "or leave it out by KEEP."
    )


def _upright(image: Image) -> Image | None:
    """Return it turned as its EXIF says, in sRGB, in a mode that all formats know."""
    from PIL import ImageOps

    alpha = image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return None  # sixteen bits a colour: no browser's format keeps them
    picture = _in_srgb(ImageOps.exif_transpose(image))
    return picture.convert("RGBA" if alpha else "RGB")


def _in_srgb(image: Image) -> Image:
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    if not profile or image.mode not in {"RGB", "RGBA", "CMYK", "L"}:
        return image
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        made = ImageCms.profileToProfile(image, given, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError):
        return image  # a profile that cannot be read says nothing
    return made if made is not None else image


def _resized(picture: Image, width: int) -> Image:
    from PIL import Image

    if width == picture.width:
        return picture
    height = max(1, round(picture.height * width / picture.width))
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _variants(picture: Image, formats: Sequence[str]) -> list[Made]:
    best = _as_good(picture) if searching() and min(picture.size) >= 11 else None
    return [Made(each, picture.width, picture.height, _encoded(picture, each, best)) for each in formats]


def _encoded(picture: Image, format_: str, good: Callable[[bytes], bool] | None) -> bytes:
    """Return it at the lowest quality that is still as good; at the fixed one, where nothing can tell."""
    if good is None:
        return save(picture, format_, FIXED[format_])
    low, high = _SPAN[format_]
    best = save(picture, format_, high)
    while high - low > 1:
        middle = (low + high) // 2
        tried = save(picture, format_, middle)
        if good(tried):
            high, best = middle, tried
        else:
            low = middle
    return best


def save(picture: Image, format_: str, quality: int) -> bytes:
    """Return it as a file."""
    file = io.BytesIO()
    options: dict[str, Any] = {"speed": _SPEED} if format_ == "avif" else {"method": _METHOD}
    if format_ == "avif":
        options["max_threads"] = 1  # so that the bytes do not depend on the number of processors
    picture.save(file, format_, quality=quality, **options)
    return file.getvalue()


def _as_good(picture: Image) -> Callable[[bytes], bool]:
    """Return what tells whether a file looks as good as a JPEG of the reference quality."""
    plain, reference = _on_grey(picture), io.BytesIO()
    plain.save(reference, "JPEG", quality=REFERENCE)
    wanted = similarity(plain, reference.getvalue())
    return lambda data: similarity(plain, data) >= wanted


def _on_grey(picture: Image) -> Image:
    """Return it as it looks on grey: what shows through is compared too."""
    from PIL import Image

    if picture.mode != "RGBA":
        return picture
    ground = Image.new("RGBA", picture.size, (128, 128, 128, 255))
    return Image.alpha_composite(ground, picture).convert("RGB")


def similarity(picture: Image, data: bytes) -> float:
    """Return the structural similarity (SSIM, Wang et al. 2004, of brightness) of a picture and a file: 1 is equal."""
    import numpy as np
    from PIL import Image
    from skimage import metrics

    with Image.open(io.BytesIO(data)) as image:
        other = _on_grey(image.convert("RGBA") if image.mode in {"RGBA", "P", "LA"} else image.convert("RGB"))
    one, two = (np.asarray(each.convert("L"), dtype=np.float32) for each in (picture, other))
    compare: Callable[..., Any] = metrics.structural_similarity  # it has no types
    return float(compare(one, two, data_range=255.0))


def _falling(made: Sequence[Made], data: bytes, *, is_webp: bool) -> list[Made]:
    """Return those of one format, the narrowest first, that are smaller than all that are wider; none where the widest
    is not smaller than the original.

    A browser that knows the format looks at nothing else: without the widest it would show a narrow one, blurred.
    """
    *narrower, own = made
    if len(own.data) >= len(data):
        if own.format != "webp" or not is_webp:
            return []
        own = replace(own, data=data)  # the original is of this format, and is the widest itself
    kept = [own]
    for each in reversed(narrower):
        if len(each.data) < len(kept[0].data):
            kept.insert(0, each)
    return [] if kept == [own] and own.data is data else kept


def _winning(sources: Mapping[str, Sequence[Made]]) -> list[Made]:
    """Return all, the narrowest first; or without AVIF, where WebP takes no more over the widths that they share.

    A browser that knows both looks at AVIF alone, at each width. So it is one or the other for all of them.
    """
    sizes = {format_: {each.width: len(each.data) for each in some} for format_, some in sources.items()}
    avif, webp = sizes.get("avif", {}), sizes.get("webp", {})
    shared = avif.keys() & webp.keys()
    beaten = bool(shared) and sum(webp[width] for width in shared) <= sum(avif[width] for width in shared)
    kept = [each for format_, some in sources.items() if not (beaten and format_ == "avif") for each in some]
    return sorted(kept, key=lambda each: each.width)


def _animated(image: Image, data: bytes, formats: Sequence[str]) -> Processed | None:
    """Return it as an animated WebP of its own width: all frames, as long, as often."""
    from PIL import ImageSequence

    if "webp" not in formats:
        return Processed(image.width, image.height, ())
    frames, durations = [], []
    for frame in ImageSequence.Iterator(image):
        frames.append(frame.convert("RGBA"))
        durations.append(int(frame.info.get("duration", 100)))  # known once it is unpacked
    if getattr(image, "default_image", False):  # for those who know no animated PNG
        del frames[0], durations[0]
    file = io.BytesIO()
    frames[0].save(
        file, "webp", save_all=True, append_images=frames[1:], duration=durations, loop=_plays(image),
        quality=FIXED["webp"], method=_METHOD,
    )  # fmt: skip
    made = Made("webp", image.width, image.height, file.getvalue())
    return Processed(image.width, image.height, (made,) if len(made.data) < len(data) else ())


def _plays(image: Image) -> int:
    """Return how often it is played; 0: for ever. A GIF says how often it is repeated, and nothing if it is not."""
    loop = image.info.get("loop")
    if image.format != "GIF":
        return int(loop or 0)
    return 1 if loop is None else int(loop) + 1 if loop else 0
