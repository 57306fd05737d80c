"""``{% picture %}`` for static files and for uploads."""

from __future__ import annotations

import io
import logging
import re
from html.parser import HTMLParser

import pytest
from django.apps import apps
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.core.management import call_command
from django.db import connections, models, transaction
from django.template import Context, Template, TemplateSyntaxError
from django.test.utils import isolate_apps
from PIL import Image

from noa_perf.cdn import tasks
from noa_perf.cdn.fields import PictureField
from tests.cdn.files import photo
from tests.cdn.site import site
from tests.gallery.models import Badge, Cover, Photo, Poster, Seal, SmallPoster


@pytest.fixture(scope="module")
def picture_bytes():
    return photo(360, 240)


@pytest.fixture
def media(tmp_path, settings):
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.MEDIA_URL = "/media/"
    settings.NOA_PERF = {"CDN": {"IMAGE_WIDTHS": [120]}}
    return tmp_path / "media"


def draw(text, **context):
    return Template("{% load noa_perf_cdn %}" + text).render(Context(context))


class Reader(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def one(self, tag):
        (found,) = (attrs for name, attrs in self.found if name == tag)
        return found

    def all(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


# Static files.


@pytest.fixture
def static(tmp_path, picture_bytes):
    with site(tmp_path, {"img/hero.jpg": picture_bytes, "a.svg": "<svg/>"}, cdn={"IMAGE_WIDTHS": [120, 240]}) as root:
        call_command("cdn_deploy", stdout=io.StringIO())
        yield root


def test_a_static_picture_has_its_variants_and_its_space(static):
    page = Reader(draw('{% picture "img/hero.jpg" alt="A <hero> & more" class="wide" data_x="1" %}'))
    image = page.one("img")
    assert (image["width"], image["height"], image["loading"], image["decoding"]) == ("360", "240", "lazy", "async")
    assert (image["alt"], image["class"], image["data-x"]) == ("A <hero> & more", "wide", "1")
    assert re.fullmatch(r"/static/img/hero\.[0-9a-f]{12}\.jpg", image["src"])
    kinds = [source["type"] for source in page.all("source")]
    assert kinds == ["image/avif", "image/webp"]
    for source in page.all("source"):
        assert source["sizes"] == "(max-width: 360px) 100vw, 360px"
        widths = []
        for each in source["srcset"].split(", "):
            address, width = each.split()
            with Image.open(static / address.removeprefix("/static/")) as opened:
                assert f"{opened.width}w" == width
                assert Image.MIME[opened.format] == source["type"]
            widths.append(opened.width)
        assert widths == sorted(widths)
        assert 120 in widths


def test_widths_sizes_and_what_is_seen_first(static):
    page = Reader(draw('{% picture "img/hero.jpg" alt="" widths="120 240" sizes="50vw" priority=True %}'))
    for source in page.all("source"):
        assert {each.split()[1] for each in source["srcset"].split(", ")} <= {"120w", "240w"}
        assert source["sizes"] == "50vw"
    assert page.one("img")["fetchpriority"] == "high"
    assert "loading" not in page.one("img")


@pytest.mark.parametrize(
    ("given", "width", "height", "sizes"),
    [
        ("width=90", "90", "60", "90px"),
        ("height=120", "180", "120", "180px"),
        ("width='90' height=90", "90", "90", "90px"),
        ("width=1", "1", "1", "1px"),
        ("width=0", "0", "1", None),
        ("width=nobody", "360", "240", "360px"),
        ("width='50%'", "50%", None, None),
    ],
)
def test_one_side_gives_the_other(static, given, width, height, sizes):
    page = Reader(draw('{% picture "img/hero.jpg" alt="" ' + given + " %}"))
    image = page.one("img")
    assert (image["width"], image.get("height")) == (width, height)
    for source in page.all("source"):
        assert source["sizes"] == (f"(max-width: {sizes}) 100vw, {sizes}" if sizes else "")


def test_of_a_picture_of_unknown_size_one_side_stays_alone(static):
    image = Reader(draw('{% picture "a.svg" alt="" width=90 %}')).one("img")
    assert (image["width"], image.get("height")) == ("90", None)


def test_what_has_no_variants_is_an_image_alone(static):
    page = Reader(draw('{% picture "a.svg" alt="" %}'))
    assert [tag for tag, _ in page.found] == ["img"]
    assert page.one("img")["src"].startswith("/static/a.")


def test_with_debug_and_with_other_storages_it_is_an_image_alone(tmp_path, picture_bytes):
    with site(tmp_path, {"hero.jpg": picture_bytes}, DEBUG=True):
        assert Reader(draw('{% picture "hero.jpg" alt="x" %}')).one("img")["src"] == "/static/hero.jpg"
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    with site(tmp_path, {}, storage=plain):
        assert Reader(draw('{% picture "hero.jpg" alt="x" %}')).one("img")["src"] == "/static/hero.jpg"


def test_alt_is_not_left_out():
    with pytest.raises(TemplateSyntaxError, match="alt"):
        draw('{% picture "a.jpg" %}')


def test_nothing_hostile_comes_through(static):
    page = draw('{% picture "a.svg" alt=evil title=evil %}', evil='"><script>alert(1)</script>')
    assert "<script" not in page


# Uploads.


@pytest.mark.django_db
def test_an_upload_is_processed_within_save_and_shown_without_a_query(media, picture_bytes, django_assert_num_queries):
    saved = Photo.objects.create(image=ContentFile(picture_bytes, "a photo.jpg"))
    assert saved.variants["of"] == saved.image.name
    read = Photo.objects.get()
    assert read.variants == saved.variants
    with django_assert_num_queries(0):
        page = Reader(draw('{% picture photo.image alt="x" %}', photo=read))
    assert (page.one("img")["width"], page.one("img")["height"]) == ("360", "240")
    assert page.one("img")["src"] == read.image.url
    for source in page.all("source"):
        for each in source["srcset"].split(", "):
            address, width = each.split()
            with Image.open(media / address.removeprefix("/media/")) as opened:
                assert f"{opened.width}w" == width


@pytest.mark.django_db
def test_saving_again_does_nothing_and_another_picture_is_processed_anew(media, picture_bytes, monkeypatch):
    saved = Photo.objects.create(image=ContentFile(picture_bytes, "a.jpg"))
    calls = []
    process = PictureField.process

    def counted(self, instance, **options):
        calls.append(1)
        process(self, instance, **options)

    monkeypatch.setattr(PictureField, "process", counted)
    saved.save()
    Photo.objects.get().save(update_fields=["image"])
    assert calls == []
    saved.image = ContentFile(photo(90, 60), "b.jpg")
    saved.save()
    assert calls == [1]
    assert Photo.objects.get().variants["of"].endswith("b.jpg")
    saved.image = ""
    saved.save()
    assert Photo.objects.get().variants is None
    assert draw('{% picture photo.image alt="x" %}', photo=saved) == ""


@pytest.mark.django_db
@pytest.mark.parametrize("data", [b"", b"no picture", photo(40, 40)[:300]])
def test_a_broken_upload_is_kept_as_it_is(media, data):
    saved = Photo.objects.create(image=ContentFile(data, "broken.jpg"))
    assert saved.variants == {"of": saved.image.name}
    page = Reader(draw('{% picture photo.image alt="x" %}', photo=Photo.objects.get()))
    assert [tag for tag, _ in page.found] == ["img"]


@pytest.mark.django_db
def test_a_bomb_is_refused_by_forms_and_never_unpacked(media, settings, caplog):
    from django.core.exceptions import ValidationError

    settings.NOA_PERF = {"CDN": {"IMAGE_MAX_PIXELS": 1_000}}
    bomb = Photo(image=ContentFile(photo(40, 40), "bomb.jpg"))
    with pytest.raises(ValidationError, match="1,600 pixels"):
        bomb.full_clean()
    caplog.set_level(logging.WARNING, "noa_perf.cdn")
    bomb.save()
    assert bomb.variants == {"of": bomb.image.name}
    assert "IMAGE_MAX_PIXELS" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_a_worker_processes_once_the_transaction_is_committed(media, picture_bytes, monkeypatch):
    sent = []
    monkeypatch.setattr(tasks.process_picture, "delay", lambda *arguments: sent.append(arguments))
    with transaction.atomic():
        saved = Photo.objects.create(later=ContentFile(picture_bytes, "a.jpg"))
        assert sent == []
    assert sent == [("gallery.Photo", saved.pk, "later", "default")]
    # Until then it is shown as it was uploaded.
    page = Reader(draw('{% picture photo.later alt="x" %}', photo=Photo.objects.get()))
    assert [tag for tag, _ in page.found] == ["img"]
    tasks.process_picture(*sent[0])
    assert Photo.objects.get().later_variants["width"] == 360
    tasks.process_picture("gallery.Photo", 0, "later")  # a row that is gone


@pytest.mark.django_db(transaction=True)
def test_the_task_is_sent_and_run_by_celery(media, picture_bytes):
    """By Celery's own way from a call to its message and the task's arguments, without a broker between."""
    from celery import current_app

    before = current_app.conf.task_always_eager
    current_app.conf.task_always_eager = True
    try:
        saved = Photo.objects.create(later=ContentFile(picture_bytes, "a.jpg"))
    finally:
        current_app.conf.task_always_eager = before
    assert Photo.objects.get(pk=saved.pk).later_variants["width"] == 360
    assert "noa_perf.cdn.process_picture" in current_app.tasks


@pytest.mark.django_db(transaction=True)
def test_without_a_broker_it_is_processed_at_once(media, monkeypatch, caplog):
    def dead(*arguments):
        raise OSError("no broker")

    monkeypatch.setattr(tasks.process_picture, "delay", dead)
    caplog.set_level(logging.WARNING, "noa_perf.cdn")
    saved = Photo.objects.create(later=ContentFile(photo(60, 40), "a.jpg"))
    assert Photo.objects.get(pk=saved.pk).later_variants["width"] == 60
    assert "no broker" in caplog.text


@pytest.mark.django_db
def test_processing_again_keeps_no_second_copy(media, picture_bytes):
    saved = Photo.objects.create(image=ContentFile(picture_bytes, "a.jpg"))
    files = sorted(path.name for path in media.rglob("*") if path.is_file())
    Photo._meta.get_field("image").process(saved)
    assert sorted(path.name for path in media.rglob("*") if path.is_file()) == files
    assert Photo.objects.get().variants == saved.variants


@pytest.mark.django_db
def test_a_slow_worker_does_not_overwrite_what_came_later(media, picture_bytes):
    saved = Photo.objects.create(image=ContentFile(photo(60, 40), "a.jpg"))
    old = Photo.objects.get()
    saved.image = ContentFile(photo(30, 20), "b.jpg")
    saved.save()
    Photo._meta.get_field("image").process(old)
    assert Photo.objects.get().variants["of"] == saved.image.name


@pytest.mark.django_db
def test_fixtures_are_loaded_as_they_are(media, monkeypatch):
    monkeypatch.setattr(PictureField, "process", lambda *arguments, **options: pytest.fail("processed"))
    Photo(image="photos/there.jpg", variants=None).save_base(raw=True)


@pytest.mark.django_db
def test_a_plain_image_field_has_the_space_that_the_model_keeps(media):
    saved = Photo.objects.create(plain=ContentFile(photo(60, 40), "a.jpg"))
    page = Reader(draw('{% picture photo.plain alt="x" %}', photo=Photo.objects.get(pk=saved.pk)))
    assert (page.one("img")["width"], page.one("img")["height"]) == ("60", "40")


@isolate_apps("tests.gallery")
def test_a_field_without_a_place_for_its_variants_is_found_by_a_check():
    class Wrong(models.Model):
        one = PictureField()
        two = PictureField(variants_field="three")
        three = models.JSONField()

        class Meta:
            app_label = "gallery"

    found = [each for field in ("one", "two") for each in Wrong._meta.get_field(field).check()]
    ours = [each for each in found if each.id == "noa_perf_cdn.E010"]
    assert len(ours) == 2
    assert all("JSONField(null=True" in str(each.hint) for each in ours)


def test_migrations_know_it_as_an_image():
    _name, path, _args, kwargs = Photo._meta.get_field("image").deconstruct()
    assert path == "django.db.models.ImageField"
    assert "variants_field" not in kwargs


@pytest.mark.django_db
def test_without_pillow_uploads_stay_as_they_are(media, monkeypatch):
    monkeypatch.setattr("noa_perf.cdn.pipeline.images.version", lambda: "")
    saved = Photo.objects.create(image=ContentFile(photo(60, 40), "a.jpg"))
    assert saved.variants == {"of": saved.image.name}


@pytest.mark.django_db
@pytest.mark.parametrize("cls", [Cover, Poster, SmallPoster, Badge, Seal])
def test_proxies_children_and_children_of_abstract_models_are_processed_too(media, cls):
    field = cls._meta.get_field("image")
    Photo.objects.create()  # so that a child's key is none that happens to fit
    saved = cls.objects.create(image=ContentFile(photo(60, 40), "a.jpg"))
    read = field.model.objects.get(pk=saved.pk)
    assert read.variants["of"] == read.image.name
    assert read.variants["width"] == 60
    read.image = ""
    read.save()
    assert field.model.objects.get(pk=saved.pk).variants is None


@pytest.mark.django_db(transaction=True)
def test_a_worker_is_told_of_the_model_that_has_the_field(media, monkeypatch):
    sent = []
    monkeypatch.setattr(tasks.process_picture, "delay", lambda *arguments: sent.append(arguments))
    saved = SmallPoster.objects.create(later=ContentFile(photo(60, 40), "a.jpg"))
    assert sent == [("gallery.Photo", saved.pk, "later", "default")]


@pytest.mark.django_db
def test_what_is_not_loaded_or_not_saved_costs_no_query(media, django_assert_num_queries):
    Photo.objects.create(image=ContentFile(photo(60, 40), "a.jpg"))
    thin = Photo.objects.only("plain").get()
    with django_assert_num_queries(1):
        thin.save(update_fields=["plain"])
    with django_assert_num_queries(1):
        thin.save()
    half = Photo.objects.defer("variants", "later_variants").get()
    with django_assert_num_queries(1):
        half.save()
    assert "variants" in half.get_deferred_fields()
    # What is uploaded is processed all the same.
    half.image = ContentFile(photo(30, 20), "b.jpg")
    half.save()
    assert Photo.objects.get().variants["width"] == 30
    with django_assert_num_queries(1):
        Photo.objects.defer("variants", "later_variants").get()


@pytest.mark.django_db
def test_a_picture_that_is_not_saved_is_not_processed(media, caplog):
    caplog.set_level(logging.WARNING, "noa_perf.cdn")
    saved = Photo.objects.create()
    saved.image = ContentFile(photo(60, 40), "a.jpg")
    saved.save(update_fields=["plain"])
    assert saved.variants is None
    assert caplog.text == ""
    saved.save(update_fields=["image"])
    assert Photo.objects.get().variants["width"] == 60


class Fails:
    """A storage that fails ``times`` times at ``what``."""

    def __init__(self, monkeypatch, what, times):
        self.left = times
        sound = getattr(FileSystemStorage, what)

        def failing(storage, name, *arguments, **options):
            # Django itself stores the upload; the variants and reading it are ours.
            if self.left and (what == "_open" or ".webp" in name or ".avif" in name):
                self.left -= 1
                raise TimeoutError("the storage is slow")
            return sound(storage, name, *arguments, **options)

        monkeypatch.setattr(FileSystemStorage, what, failing)


@pytest.mark.django_db
@pytest.mark.parametrize("what", ["_open", "exists", "_save"])
def test_a_storage_that_fails_is_logged_and_tried_again_at_the_next_save(
    media, picture_bytes, monkeypatch, caplog, what
):
    caplog.set_level(logging.WARNING, "noa_perf.cdn")
    Fails(monkeypatch, what, 1)
    saved = Photo.objects.create(image=ContentFile(picture_bytes, "a.jpg"))
    assert "the storage is slow" in caplog.text
    assert Photo.objects.get().variants is None
    saved.save()
    assert Photo.objects.get().variants["width"] == 360


@pytest.fixture
def worker(monkeypatch):
    """Celery runs what is sent at once; yields the seconds after which it was asked to run again."""
    from celery import current_app

    before = current_app.conf.task_always_eager
    current_app.conf.task_always_eager = True
    waits = []
    retry = tasks.process_picture.retry

    def noted(*arguments, **options):
        waits.append(options["countdown"])
        return retry(*arguments, **options)

    monkeypatch.setattr(tasks.process_picture, "retry", noted)
    yield waits
    current_app.conf.task_always_eager = before


@pytest.mark.django_db(transaction=True)
def test_a_worker_tries_again_where_the_storage_fails(media, picture_bytes, monkeypatch, worker):
    Fails(monkeypatch, "_open", 2)
    Photo.objects.create(later=ContentFile(picture_bytes, "a.jpg"))
    assert Photo.objects.get().later_variants["width"] == 360
    assert worker == [5, 10]
    failing = Fails(monkeypatch, "_open", 100)
    saved = Photo.objects.create(later=ContentFile(picture_bytes, "b.jpg"))
    assert Photo.objects.get(pk=saved.pk).later_variants is None
    assert 100 - failing.left == 1 + tasks.RETRIES


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_does_not_see_the_row_yet_tries_again_and_not_for_ever(media, worker):
    saved = Photo.objects.create(later=ContentFile(photo(60, 40), "a.jpg"))
    rows = Photo.objects.filter(pk=saved.pk)
    rows.update(later_variants=None)
    first = Photo._base_manager.filter

    class Later:
        """The row comes with the third look."""

        looks = 0

        def using(self, alias):
            return self

        def filter(self, pk):
            self.looks += 1
            return first(pk=pk if self.looks > 2 else 0)

    looking = Later()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(apps, "get_model", lambda label: _Model(looking))
        tasks.process_picture.apply(("gallery.Photo", saved.pk, "later", "default"))
    assert (looking.looks, worker) == (3, [5, 10])
    assert rows.get().later_variants["width"] == 60
    worker.clear()
    tasks.process_picture.apply(("gallery.Photo", 0, "later", "default"))  # a row that is gone
    assert worker == [5, 10, 20, 40, 80]


class _Model:
    _meta = Photo._meta

    def __init__(self, manager):
        self._base_manager = manager


@pytest.fixture
def other(tmp_path, transactional_db):
    """A second database that has no row of the first."""
    connections.databases["other"] = connections["default"].settings_dict | {
        "ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "other.sqlite3"), "OPTIONS": {},
    }  # fmt: skip
    try:
        connections["other"].connect()  # at once: Django's tests refuse to open a database that they were not told of
        with connections["other"].schema_editor() as editor:
            editor.create_model(Photo)
        yield "other"
    finally:
        connections["other"].close()
        del connections["other"]
        del connections.databases["other"]


@pytest.mark.parametrize("name", ["image", "later"])
def test_variants_are_written_to_the_database_of_the_instance(media, other, worker, name):
    variants = Photo._meta.get_field(name).variants_field
    mine = Photo.objects.create(pk=1, **{name: ContentFile(photo(60, 40), "a.jpg")})
    yours = Photo(pk=1, **{name: ContentFile(photo(30, 20), "b.jpg")})
    yours.save(using=other)
    assert getattr(Photo.objects.using(other).get(), variants)["width"] == 30
    assert getattr(Photo.objects.using("default").get(pk=mine.pk), variants)["width"] == 60
    yours.refresh_from_db()
    assert yours._state.db == other
    setattr(yours, name, "")
    yours.save(using=other)
    assert getattr(Photo.objects.using(other).get(), variants) is None


def test_rows_that_come_from_a_replica_are_written_where_routers_say(media, other, settings):
    class Router:
        def db_for_write(self, model, **hints):
            return "default"

    Photo.objects.create(pk=1, image=ContentFile(photo(60, 40), "a.jpg"))
    Photo.objects.filter(pk=1).update(variants=None)
    Photo.objects.using(other).bulk_create(Photo.objects.filter(pk=1))
    replica = Photo.objects.using(other).get()
    settings.DATABASE_ROUTERS = [Router()]
    Photo._meta.get_field("image").process(replica)
    assert Photo.objects.using("default").get().variants["width"] == 60
    assert Photo.objects.using(other).get().variants is None
