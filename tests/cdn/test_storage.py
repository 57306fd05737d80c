"""``{% static %}``, ``collectstatic`` and WhiteNoise over releases."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import threading

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import CommandError
from django.template import Context, Template
from django.test import RequestFactory, override_settings

from noa_perf.cdn import service
from noa_perf.cdn.exceptions import TargetError
from noa_perf.cdn.headers import for_whitenoise
from noa_perf.cdn.live import Live
from noa_perf.cdn.releases import POINTER, Releases
from noa_perf.cdn.targets.folder import Folder
from noa_perf.cdn.whitenoise import ReleaseWhiteNoiseMiddleware
from noa_perf.core.clock import ManualClock
from tests.cdn.files import photo
from tests.cdn.site import BACKEND, site, write

FILES = {
    "css/app.css": "a { background: url(../img/a.svg); color: #ff0000 }\n" * 30,
    "img/a.svg": "<svg xmlns='http://www.w3.org/2000/svg'></svg>" * 20,
    "odd name.txt": "odd",
}


def linked(path):
    return Template(f'{{% load static %}}{{% static "{path}" %}}').render(Context())


def run(command, *arguments, **options):
    out = io.StringIO()
    call_command(command, *arguments, stdout=out, stderr=out, **options)
    return out.getvalue()


def test_static_links_to_the_live_release(tmp_path):
    with site(tmp_path, FILES) as root:
        run("cdn_deploy")
        address = linked("css/app.css")
        assert re.fullmatch(r"/static/css/app\.[0-9a-f]{12}\.css", address)
        assert (root / address.removeprefix("/static/")).read_text().startswith("a{")
        assert linked("odd name.txt").startswith("/static/odd%20name.")
        assert linked("img/a.svg#icon").endswith(".svg#icon")
        assert linked("img/a.svg?x=1").endswith(".svg?x=1")
        assert linked("css/") == "/static/css/"


def test_a_running_process_follows_the_pointer(tmp_path):
    with site(tmp_path, FILES):
        run("cdn_deploy")
        one = linked("css/app.css")
        write(tmp_path / "assets", {"css/app.css": "a { color: tan }\n" * 30})
        run("cdn_deploy")
        two = linked("css/app.css")
        assert one != two
        run("cdn_rollback")
        assert linked("css/app.css") == one


def test_with_debug_files_are_linked_as_they_are(tmp_path):
    with site(tmp_path, FILES, DEBUG=True):
        assert linked("css/app.css") == "/static/css/app.css"
        assert linked("no/such.css") == "/static/no/such.css"
        run("cdn_deploy")
        assert linked("css/app.css") == "/static/css/app.css"
        forced = service.storage().url("css/app.css", force=True)
        assert re.fullmatch(r"/static/css/app\.[0-9a-f]{12}\.css", forced)


def test_a_file_that_no_release_has_is_an_error_that_names_the_cure(tmp_path):
    with site(tmp_path, FILES):
        with pytest.raises(ValueError, match="cdn_deploy, or collectstatic"):
            linked("css/app.css")
        run("cdn_deploy")
        with pytest.raises(ValueError, match=r"findstatic no/such.css"):
            linked("no/such.css")


def test_not_strict_such_a_file_is_linked_by_its_plain_name(tmp_path):
    with site(tmp_path, FILES, storage={"BACKEND": BACKEND, "OPTIONS": {"manifest_strict": False}}):
        assert linked("css/app.css") == "/static/css/app.css"
        run("cdn_deploy")
        assert linked("no/such.css") == "/static/no/such.css"


def test_collectstatic_builds_and_publishes(tmp_path):
    with site(tmp_path, FILES) as root:
        said = run("collectstatic", interactive=False)
        assert "3 static files copied" in said
        assert "3 post-processed" in said
        assert linked("css/app.css") != "/static/css/app.css"
        assert (root / linked("css/app.css").removeprefix("/static/")).exists()
        live = service.releases().pointer()
        assert "0 static files copied" in run("collectstatic", interactive=False)
        assert service.releases().pointer() == live
        assert f"Release {live.live} is live already" in run("cdn_deploy")


def test_collectstatic_dry_run_publishes_nothing(tmp_path):
    with site(tmp_path, FILES) as root:
        run("collectstatic", interactive=False, dry_run=True)
        assert not root.exists()


def test_without_static_root_the_setting_is_named(tmp_path):
    with (
        site(tmp_path, FILES),
        override_settings(STATIC_ROOT=None),
        pytest.raises(ImproperlyConfigured, match="STATIC_ROOT"),
    ):
        linked("css/app.css")


def test_another_storage_is_named_with_the_cure(tmp_path):
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    with site(tmp_path, FILES, storage=plain), pytest.raises(CommandError, match="ReleaseStaticFilesStorage"):
        run("cdn_deploy")


def test_beside_whitenoise(tmp_path):
    """It serves the compressed forms, and knows our names as immutable."""
    from whitenoise.middleware import WhiteNoiseMiddleware

    with site(tmp_path, FILES, WHITENOISE_ADD_HEADERS_FUNCTION=for_whitenoise):
        run("cdn_deploy")
        served = WhiteNoiseMiddleware(lambda request: None)
        found = served.find_file(linked("img/a.svg")) or served.files[linked("img/a.svg")]
        answer = found.get_response("GET", {"HTTP_ACCEPT_ENCODING": "br, gzip"})
        headers = dict(answer.headers)
        assert "immutable" in headers["Cache-Control"]
        assert headers["Content-Encoding"] == "br"
        assert "Accept-Encoding" in headers["Vary"]
        assert "sandbox" in headers["Content-Security-Policy"]
        answer.file.close()


def test_variants_have_plain_names_too_and_whitenoise_knows_them_as_immutable(tmp_path):
    from whitenoise.middleware import WhiteNoiseMiddleware

    with site(tmp_path, {"hero.jpg": photo(120, 80)}, cdn={"IMAGE_WIDTHS": [60]}):
        run("cdn_deploy")
        address = linked("hero.jpg.60w.webp")
        assert re.fullmatch(r"/static/hero\.jpg\.60w\.[0-9a-f]{12}\.webp", address)
        served = WhiteNoiseMiddleware(lambda request: None)
        answer = served.files[address].get_response("GET", {})
        assert "immutable" in dict(answer.headers)["Cache-Control"]
        answer.file.close()


@pytest.mark.django_db  # closing an answer ends a request
def test_whitenoise_serves_what_went_live_since_it_was_started(tmp_path):
    with site(tmp_path, FILES | {"LICENSE": "free"}) as root:
        run("cdn_deploy")
        served = ReleaseWhiteNoiseMiddleware(lambda request: None)
        first = linked("css/app.css")
        newer = "".join(f".c{place} {{ width: {place}px }}\n" for place in range(60))
        write(tmp_path / "assets", {"css/app.css": newer})
        run("cdn_deploy")
        second = linked("css/app.css")
        for address in (first, second, linked("LICENSE")):
            answer = served(RequestFactory().get(address, HTTP_ACCEPT_ENCODING="br"))
            assert answer.status_code == 200
            assert "immutable" in answer["Cache-Control"]
            answer.close()
        answer = served(RequestFactory().get(second, HTTP_ACCEPT_ENCODING="gzip"))
        assert answer["Content-Encoding"] == "gzip"
        answer.close()
        answer = served(RequestFactory().get(linked("img/a.svg")))
        assert "sandbox" in answer["Content-Security-Policy"]
        answer.close()
        # Nothing outside, and nothing that is not there.
        (tmp_path / "secret.0123456789ab.txt").write_text("no")
        for path in (
            "/static/../secret.0123456789ab.txt",
            "/static/no.0123456789ab.css",
            "/elsewhere/a.0123456789ab.css",
        ):
            request = RequestFactory().get("/")
            request.path_info = path
            assert served(request) is None
        assert root.exists()


def test_collectstatic_says_what_is_wrong_and_ends_with_2(tmp_path, caplog):
    caplog.set_level(logging.WARNING, "noa_perf.cdn")
    with site(tmp_path, FILES | {"bad.css": "a { background: url(gone.png) }"}):
        run("collectstatic", interactive=False)
        assert "bad.css names 'gone.png'" in caplog.text
        for path in FILES:
            (tmp_path / "assets" / path).unlink()
        with pytest.raises(CommandError, match="3 of the 4 files") as error:
            run("collectstatic", interactive=False)
        assert error.value.returncode == 2


def test_commands_without_static_root_end_with_2(tmp_path):
    with site(tmp_path, FILES), override_settings(STATIC_ROOT=None):
        for command in ("cdn_deploy", "cdn_releases", "cdn_gc"):
            with pytest.raises(CommandError, match="STATIC_ROOT") as error:
                run(command)
            assert error.value.returncode == 2


# Following the pointer.


class Counted(Folder):
    def __init__(self, root):
        super().__init__(root)
        self.asked = 0
        self.fails = False

    def read(self, name):
        self.asked += 1
        if self.fails:
            raise TargetError("it is gone")
        return super().read(name)


@pytest.fixture
def followed(tmp_path):
    clock = ManualClock()
    with site(tmp_path, FILES) as root:
        run("cdn_deploy")
        target = Counted(root)
        yield target, Live(Releases(target), 5.0, clock), clock


def test_a_folder_is_asked_now_and_then(followed):
    target, live, clock = followed
    first = live.manifest()
    assert first.paths
    for _ in range(100):
        assert live.manifest() is first
    assert target.asked == 2  # the pointer, and the manifest
    clock.advance(5.0)
    assert live.manifest() is first
    assert target.asked == 3


def test_where_the_place_is_gone_the_last_release_goes_on_and_it_is_logged_once(followed, caplog):
    target, live, clock = followed
    first = live.manifest()
    target.fails = True
    caplog.set_level(logging.INFO, "noa_perf.cdn")
    for _ in range(3):
        clock.advance(5.0)
        assert live.manifest() is first
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
    target.fails = False
    clock.advance(5.0)
    assert live.manifest() is first
    assert "can be read again" in caplog.text


def test_a_place_that_cannot_be_read_from_the_start_links_plain_names(tmp_path, caplog):
    with site(tmp_path, FILES) as root:
        run("cdn_deploy")
        (root / POINTER).write_text("{")
        assert linked("css/app.css") == "/static/css/app.css"
        assert "live release cannot be read; files are linked by their plain names" in caplog.text


def test_a_remote_place_is_asked_beside_the_requests(followed):
    target, live, clock = followed
    target.remote = True
    first = live.manifest()
    asked, go = threading.Event(), threading.Event()
    read = target.read

    def slow(name):
        asked.set()
        assert go.wait(60)
        return read(name)

    target.read = slow
    clock.advance(5.0)
    assert live.manifest() is first  # while the thread waits
    assert asked.wait(60)
    assert live.manifest() is first
    assert len([thread for thread in threading.enumerate() if thread.name == "noa_perf.cdn"]) == 1
    go.set()
    for thread in threading.enumerate():
        if thread.name == "noa_perf.cdn":
            thread.join(60)
    assert live.manifest() is first


def test_a_child_asks_though_its_parent_was_asking_when_it_forked(followed):
    target, live, clock = followed
    target.remote = True
    live.manifest()
    live._answered = threading.Event()  # of a thread of the parent, which the child does not have
    clock.advance(5.0)
    pid = os.fork()
    if pid == 0:
        before = target.asked
        live.manifest()
        for thread in threading.enumerate():
            if thread.name == "noa_perf.cdn":
                thread.join(60)
        os._exit(0 if target.asked > before else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_remote_place_that_hangs_holds_the_first_requests_for_a_moment_and_no_other(followed, monkeypatch, caplog):
    target, live, _clock = followed
    target.remote = True
    monkeypatch.setattr("noa_perf.cdn.live.FIRST", 0.05)
    go = threading.Event()
    read = target.read

    def hangs(name):
        assert go.wait(60)
        return read(name)

    target.read = hangs
    assert live.manifest() is None
    assert live.failed
    monkeypatch.setattr("noa_perf.cdn.live.FIRST", 60.0)
    for _ in range(50):  # nobody waits for it any more
        assert live.name("css/app.css") is None
    assert "did not answer" in caplog.text
    go.set()
    for thread in threading.enumerate():
        if thread.name == "noa_perf.cdn":
            thread.join(60)
    assert live.name("css/app.css")
    assert not live.failed


def test_a_child_goes_on_though_a_thread_of_its_parent_was_asking_when_it_forked(followed):
    _target, live, _clock = followed
    live._lock.acquire()  # by a thread that the child does not have
    pid = os.fork()
    if pid == 0:
        os._exit(0 if live.manifest() is not None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    live._lock.release()


def test_a_pointer_that_is_gone_takes_nothing_down(followed, caplog):
    target, live, clock = followed
    first = live.manifest()
    (target.root / POINTER).unlink()
    clock.advance(5.0)
    assert live.manifest() is first
    assert live.failed
    assert "gone, though one was" in caplog.text


@pytest.mark.parametrize("text", ['{"live": 5}', "[]", '{"live": 5, "history": [], "held_until": 0, "serial": 1}', "7"])
def test_a_pointer_that_somebody_wrote_by_hand_takes_nothing_down(followed, text):
    target, live, clock = followed
    first = live.manifest()
    (target.root / POINTER).write_text(text)
    clock.advance(5.0)
    assert live.manifest() is first
    assert live.failed


def test_clear_leaves_what_is_live(tmp_path):
    with site(tmp_path, FILES) as root:
        run("collectstatic", interactive=False)
        live = service.releases().pointer().live
        (root / "old.txt").write_text("left by somebody")
        run("collectstatic", interactive=False, clear=True)
        assert service.releases().pointer().live == live
        assert (root / linked("css/app.css").removeprefix("/static/")).exists()
        assert not (root / "old.txt").exists()


def test_names_as_djangos_manifest_storages_tell_them(tmp_path):
    with site(tmp_path, FILES):
        run("cdn_deploy")
        assert service.storage().stored_name("css/app.css") == linked("css/app.css").removeprefix("/static/")


# On S3.


@pytest.mark.server
def test_on_s3_by_django_storages(tmp_path):
    from tests.servers.registry import get
    from tests.servers.s3 import CREDENTIALS, S3

    server = get(S3)
    server.client().create_bucket(Bucket="storage")
    options = {
        **CREDENTIALS, "bucket_name": "storage", "location": "assets", "endpoint_url": server.urls()["s3"],
        "querystring_auth": False, "refresh": 0, "object_parameters": {"Metadata": {"by": "test"}},
    }  # fmt: skip
    storage = {"BACKEND": "noa_perf.cdn.storage_s3.ReleaseS3StaticStorage", "OPTIONS": options}
    with site(tmp_path, FILES, storage=storage):
        with pytest.raises(ValueError, match="s3://storage/assets"):
            linked("css/app.css")
        report = json.loads(run("cdn_deploy", "--format", "json"))
        assert report["uploaded"] >= 5
        address = linked("css/app.css")
        assert address.startswith(f"{server.urls()['s3']}/storage/assets/css/app.")
        found = server.client().get_object(Bucket="storage", Key="assets/" + address.partition("/assets/")[2])
        assert found["Metadata"] == {"by": "test"}
        assert "3 post-processed" in run("collectstatic", interactive=False)
