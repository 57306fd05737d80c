"""Pictures and their variants: as good as they were, and refused, left alone or kept right where they are odd."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageCms, ImageDraw

from noa_perf.cdn.exceptions import BuildError
from noa_perf.cdn.pipeline import images
from noa_perf.cdn.store import Store
from tests.cdn.files import build, photo

pytestmark = pytest.mark.once  # Pillow and scikit-image, whatever runs them

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
HAIR = 0.002
"""Of SSIM: by so much a decoder's rounding may differ."""


def bundled(name):
    """Return a picture that scikit-image's wheel brings along."""
    import skimage

    return Path(skimage.__file__).with_name("data") / name


def opened(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def saved(image, format_, **options):
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def processed(data, widths=(), formats=("avif", "webp"), max_pixels=50_000_000):
    return images.processed(data, "a picture", formats=formats, widths=widths, max_pixels=max_pixels)


def of(made, format_):
    return [each for each in made.variants if each.format == format_]


def near(pixel, other, by=12):
    return all(abs(a - b) <= by for a, b in zip(pixel, other, strict=True))


def quarters(width=64, height=48):
    """Return red, green, blue and white, from the top left on."""
    picture = Image.new("RGB", (width, height), (255, 255, 255))
    half = width // 2, height // 2
    picture.paste((200, 20, 20), (0, 0, *half))
    picture.paste((20, 180, 20), (half[0], 0, width, half[1]))
    picture.paste((20, 20, 200), (0, half[1], half[0], height))
    return picture


@pytest.mark.slow
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_variants_look_as_good_as_the_reference_and_are_smaller(name):
    data = bundled(name).read_bytes()
    made = processed(data, widths=(240,))
    picture = in_srgb(opened(data).convert("RGB"))
    reference = {width: scaled(picture, width) for width in (240, picture.width)}
    assert {(each.format, each.width) for each in made.variants} >= {("avif", picture.width), ("webp", 240)}
    for each in made.variants:
        plain = reference[each.width]
        jpeg = saved(plain, "JPEG", quality=images.REFERENCE)
        assert images.similarity(plain, each.data) >= images.similarity(plain, jpeg) - HAIR, each.format
        assert len(each.data) < len(jpeg), each.format
        assert opened(each.data).size == plain.size


def in_srgb(picture):
    profile = picture.info.get("icc_profile")
    if not profile:
        return picture
    given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.profileToProfile(picture, given, ImageCms.createProfile("sRGB"))


def scaled(picture, width):
    return picture.resize((width, max(1, round(picture.height * width / picture.width))), Image.Resampling.LANCZOS)


@pytest.mark.parametrize("format_", ["avif", "webp"])
def test_a_picture_is_turned_as_its_exif_says(format_):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it clockwise
    exif[0x010E] = "a secret place"
    data = saved(quarters(), "JPEG", quality=95, exif=exif)
    made = processed(data, formats=(format_,))
    assert (made.width, made.height) == (48, 64)
    assert made.variants
    for each in made.variants:
        picture = opened(each.data).convert("RGB")
        assert picture.size == (48, 64)
        assert near(picture.getpixel((40, 8)), (200, 20, 20)), "what was top left is top right"
        assert near(picture.getpixel((8, 8)), (20, 20, 200))
        assert not picture.getexif()
        assert b"secret" not in each.data


def swapped():
    """Return a picture whose numbers mean other colours than in sRGB: red and green change places in its profile."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    many = struct.unpack(">I", profile[128:132])[0]
    tags = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * many, 12)}
    red, green = tags[b"rXYZ"] + 4, tags[b"gXYZ"] + 4
    profile[red : red + 8], profile[green : green + 8] = profile[green : green + 8], profile[red : red + 8]
    return bytes(profile)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_of_a_profile_become_those_of_srgb(mode):
    picture = Image.new(mode, (40, 40), (220, 30, 30, 255)[: len(mode)])
    made = processed(saved(picture, "PNG", icc_profile=swapped()), formats=("webp",))
    small = images.save(picture, "webp", 90)
    assert near(opened(small).convert("RGB").getpixel((5, 5)), (220, 30, 30))
    (each,) = made.variants
    image = opened(each.data)
    assert "icc_profile" not in image.info
    assert near(image.convert("RGB").getpixel((5, 5)), (30, 220, 30))


def test_a_profile_that_cannot_be_read_says_nothing():
    made = processed(saved(quarters(), "PNG", icc_profile=b"no profile"), formats=("webp",))
    assert near(opened(made.variants[0].data).convert("RGB").getpixel((5, 5)), (200, 20, 20))


def test_cmyk_becomes_rgb():
    data = saved(quarters().convert("CMYK"), "JPEG", quality=95)
    assert opened(data).mode == "CMYK"
    made = processed(data)
    assert made.variants
    for each in made.variants:
        assert opened(each.data).mode == "RGB"
        assert near(opened(each.data).getpixel((5, 5)), (200, 20, 20), by=25)


def test_a_palette_with_a_colour_that_is_no_colour_stays_transparent():
    palette = quarters().quantize(8)
    hole = palette.getpixel((60, 40))
    made = processed(saved(palette, "PNG", transparency=hole) + b"\0" * 500)
    assert made.variants
    for each in made.variants:
        picture = opened(each.data).convert("RGBA")
        assert picture.getpixel((60, 40))[3] < 10
        assert picture.getpixel((5, 5))[3] > 245


@pytest.mark.parametrize("format_", ["avif", "webp"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_kept(mode, format_):
    picture = opened(photo(120, 90)).convert(mode)
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    made = processed(saved(picture, "PNG"), formats=(format_,))
    assert made.variants
    for each in made.variants:
        alpha = opened(each.data).convert("RGBA").getchannel("A")
        for y in (2, 45, 87):
            assert abs(alpha.getpixel((60, y)) - picture.getchannel("A").getpixel((60, y))) < 20


def test_sixteen_bits_are_left_as_they_are():
    import numpy as np

    grey = Image.fromarray((np.arange(64 * 64, dtype="uint16") * 16).reshape(64, 64))
    assert processed(saved(grey, "PNG")) is None


def frames(many=4):
    made = []
    for place in range(many):
        picture = opened(photo(80, 60)).convert("RGB")
        picture.paste((250, 250, 0), (place * 15, 10, place * 15 + 15, 40))
        made.append(picture)
    return made


@pytest.mark.parametrize(
    ("format_", "loops", "plays"),
    [
        ("GIF", 0, 0),
        ("GIF", 3, 4),  # a GIF says how often it is repeated, the others how often it is played
        ("PNG", 0, 0),
        ("PNG", 3, 3),
        ("WEBP", 0, 0),
        ("WEBP", 3, 3),
    ],
)
def test_moving_pictures_keep_frames_times_and_loops(format_, loops, plays):
    durations = [100, 250, 40, 1000]
    options = {"lossless": True} if format_ == "WEBP" else {}
    first, *rest = frames()
    data = saved(
        first, format_, save_all=True, append_images=rest, duration=durations, loop=loops, **options
    )  # fmt: skip
    (each,) = processed(data, widths=(40,)).variants
    image = opened(each.data)
    assert (each.format, image.n_frames, image.info["loop"], image.size) == ("webp", 4, plays, (80, 60))
    for place, milliseconds in enumerate(durations):
        image.seek(place)
        image.load()
        assert image.info["duration"] == milliseconds
        assert near(image.convert("RGB").getpixel((place * 15 + 7, 25)), (250, 250, 0), by=50)


def test_a_picture_for_who_knows_no_moving_png_is_no_frame():
    first, *rest = frames()
    still = Image.new("RGB", first.size, (0, 0, 0))
    data = saved(still, "PNG", save_all=True, append_images=[first, *rest], duration=100, default_image=True)
    image = opened(processed(data).variants[0].data)
    assert image.n_frames == 4
    assert near(image.convert("RGB").getpixel((7, 25)), (250, 250, 0), by=50)


def test_a_gif_that_says_nothing_of_loops_plays_once():
    first, *rest = frames()
    data = saved(first, "GIF", save_all=True, append_images=rest, duration=100)
    assert b"NETSCAPE" not in data
    assert opened(processed(data).variants[0].data).info["loop"] == 1


def test_still_frames_of_a_file_are_no_reason_to_fail():
    one = saved(quarters(), "GIF")
    made = processed(one)
    assert (made.width, made.height) == (64, 48)


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"no picture at all", photo()[:3_000]])
def test_what_is_no_picture_or_half_a_one_is_published_as_it_is(tmp_path, data):
    assert processed(data) is None
    store = Store(tmp_path)
    built = build(store, {"a.png": data})
    assert store.get(built.manifest.assets[built.manifest.paths["a.png"]].blob) == data
    assert not built.manifest.pictures


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb(width, height):
    """Return a file that says it is so large, and has nothing in it: whoever unpacks it takes the memory first."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(8_000, 8_000), (20_000, 20_000), (60_000, 60_000)])
def test_a_bomb_is_named_and_not_unpacked(tmp_path, size):
    """Pillow itself warns of the first, and refuses the last."""
    images.version()
    processed(photo(20, 20))  # what is imported now is not counted below
    tracemalloc.start()
    try:
        with pytest.raises(BuildError, match=r"b\.png.*IMAGE_MAX_PIXELS.*KEEP"):
            build(Store(tmp_path), {"b.png": bomb(*size)}, javascript="off")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20e6


def test_a_bomb_that_is_not_looked_at_is_no_matter(tmp_path):
    built = build(Store(tmp_path), {"b.png": bomb(60_000, 60_000)}, keep=("b.png",))
    assert not built.manifest.pictures


def test_frames_count_together():
    first, *rest = [Image.new("RGB", (100, 100), (place * 30, 0, 99)) for place in range(8)]
    data = saved(first, "GIF", save_all=True, append_images=rest)
    with pytest.raises(BuildError, match="80,000 pixels"):
        processed(data, max_pixels=79_999)
    assert processed(data, max_pixels=80_000) is not None


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (10, 10), (11, 11)])
def test_tiny_pictures(size):
    data = saved(Image.new("RGB", size, (9, 99, 200)), "PNG") + b"\0" * 2_000  # so that variants are smaller
    made = processed(data, widths=(480,))
    assert (made.width, made.height) == size
    for each in made.variants:
        assert opened(each.data).size == size
    assert made.variants


def test_no_picture_is_made_wider_than_it_is():
    made = processed(photo(300, 200), widths=(480, 120, 300, 120))
    assert sorted({each.width for each in made.variants}) == [120, 300]
    assert [each.height for each in of(made, "webp")] == [80, 200]


def test_variants_that_would_be_larger_are_left_out():
    made = processed(saved(quarters(8, 8), "PNG"))
    assert (made.width, made.height, made.variants) == (8, 8, ())


def lines(format_, **options):
    """Return a picture that newer formats do not make smaller in its own width, but in narrow ones."""
    picture = Image.new("RGB", (800, 480), "white")
    draw = ImageDraw.Draw(picture)
    for x in range(0, 800, 16):
        draw.line((x, 0, 800 - x, 480), fill=(x % 255, 80, 160), width=2)
    return saved(picture, format_, **options)


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (photo(300, 200), ["avif", "webp"]),
        (lines("JPEG", quality=30), []),
        (lines("PNG", optimize=True), ["avif"]),
        (lines("WEBP", quality=40), ["webp"]),  # the widest is the original itself
    ],
    ids=["photograph", "coarse JPEG", "lines in a PNG", "coarse WebP"],
)
def test_the_widest_of_each_format_is_as_wide_as_the_picture(data, kept, monkeypatch):
    """A browser looks at the first format that it knows: without the widest it would stretch a narrow one."""
    monkeypatch.setattr(images, "searching", lambda: False)
    made = processed(data, widths=(200, 120))
    assert [each for each in ("avif", "webp") if of(made, each)] == kept
    for format_ in kept:
        some = of(made, format_)
        assert some[-1].width == made.width
        sizes = [len(each.data) for each in some]
        assert sizes == sorted(set(sizes))
        assert sizes[-1] < len(data) or some[-1].data == data
        assert sizes[0] < len(data)


def test_a_webp_that_nothing_makes_smaller_is_not_published_twice(monkeypatch):
    monkeypatch.setattr(images, "searching", lambda: False)
    assert not processed(lines("WEBP", quality=5), formats=("webp",)).variants


def test_avif_goes_as_a_whole_or_stays_as_a_whole(monkeypatch):
    data = photo(300, 200)
    sizes: dict[tuple[str, int], int] = {}
    monkeypatch.setattr(images, "searching", lambda: False)
    monkeypatch.setattr(images, "save", lambda picture, format_, quality: b"x" * sizes[format_, picture.width])
    for avif, kept in (((11, 20), {"avif", "webp"}), ((5, 40), {"webp"}), ((10, 30), {"webp"})):
        sizes.update({("webp", 120): 10, ("webp", 300): 30, ("avif", 120): avif[0], ("avif", 300): avif[1]})
        made = processed(data, widths=(120,))
        assert {each.format for each in made.variants} == kept
        assert {each.width for each in of(made, "webp")} == {120, 300}
        assert len(of(made, "avif")) in {0, 2}


def test_a_narrow_variant_that_is_larger_than_a_wider_one_goes(monkeypatch):
    sizes = {120: 40, 200: 20, 300: 30}
    monkeypatch.setattr(images, "searching", lambda: False)
    monkeypatch.setattr(images, "save", lambda picture, format_, quality: b"x" * sizes[picture.width])
    made = processed(photo(300, 200), widths=(120, 200), formats=("webp",))
    assert [each.width for each in made.variants] == [200, 300]


@pytest.mark.parametrize(("size", "kept"), [((40, 16_400), {"avif"}), ((16_400, 40), {"avif"}), ((40_000, 8), set())])
def test_what_a_format_has_no_room_for_gets_none_of_it(size, kept):
    made = processed(saved(Image.linear_gradient("L").resize(size), "BMP"), widths=(20,))
    assert (made.width, made.height) == size
    assert {each.format for each in made.variants} == kept
    for each in made.variants:
        assert opened(each.data).size == (each.width, each.height)


def test_what_an_encoder_says_ends_nothing(monkeypatch):
    def fails(*args):
        raise RuntimeError("encoding error")

    monkeypatch.setattr(images, "save", fails)
    assert processed(photo(40, 30)) is None


def seeds():
    picture = quarters(40, 30)
    other = picture.rotate(90)
    exif = Image.Exif()
    exif[0x0112] = 6
    for format_ in ("PNG", "JPEG", "WEBP"):
        yield saved(picture, format_, exif=exif)
    for format_ in ("GIF", "PNG", "WEBP"):
        yield saved(picture, format_, save_all=True, append_images=[other], duration=50)
    noise = [Image.effect_noise((60, 60), sigma).convert("P") for sigma in (80, 90, 95)]
    yield saved(noise[0], "GIF", save_all=True, append_images=noise[1:], duration=50)


def damaged(data, chance):
    """Return ``data`` with some bytes changed, put in, or cut off."""
    harmed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        place, what = chance.randrange(len(harmed)), chance.random()
        if what < 0.7:
            harmed[place] = chance.randrange(256)
        elif what < 0.85:
            del harmed[place + 1 :]
        else:
            harmed[place:place] = chance.randbytes(4)
    return bytes(harmed)


@pytest.mark.filterwarnings("ignore")
def test_damaged_pictures_end_nothing(monkeypatch):
    monkeypatch.setattr(images, "searching", lambda: False)
    chance = random.Random(1)
    read = broken = 0
    for data in seeds():
        for _ in range(250):
            try:
                made = processed(damaged(data, chance), widths=(20,), formats=("webp",), max_pixels=1_000_000)
            except BuildError:
                continue  # it says that it is so large
            read, broken = read + (made is not None), broken + (made is None)
    assert read > 100
    assert broken > 100


@pytest.mark.filterwarnings("ignore")
def test_moving_pictures_that_are_cut_off_end_nothing():
    data = list(seeds())[-1]
    for end in range(20, len(data), 11):
        processed(data[:end], formats=("webp",))


def test_without_scikit_image_qualities_are_fixed(monkeypatch):
    data = photo(120, 90, "PNG")
    monkeypatch.setattr(images, "searching", lambda: False)
    made = processed(data, formats=("webp",))
    picture = opened(data).convert("RGB")
    assert made.variants[0].data == images.save(picture, "webp", images.FIXED["webp"])
    assert images.version().endswith("fixed")


def test_two_runs_make_the_same_bytes():
    data = photo(200, 150)
    assert processed(data, widths=(100,)) == processed(data, widths=(100,))
