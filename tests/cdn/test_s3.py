"""Releases in a bucket, on moto's server, with faults between it and us."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import urllib.request
from collections import Counter
from contextlib import contextmanager

import pytest

from noa_perf.cdn.exceptions import DeployConflict, TargetError
from noa_perf.cdn.publish import deploy, gc, rollback
from noa_perf.cdn.releases import FOLDER, POINTER, Releases, known
from noa_perf.cdn.store import Store
from noa_perf.cdn.targets.base import IMMUTABLE
from noa_perf.cdn.targets.s3 import Bucket
from noa_perf.core.clock import ManualClock
from tests.cdn.files import build, photo
from tests.cdn.test_publish import DAY, ONE, TWO, Stepping, killed_at, publish_
from tests.servers.registry import get
from tests.servers.s3 import S3

pytestmark = pytest.mark.server


@pytest.fixture
def client():
    client = get(S3).client()
    urllib.request.urlopen(urllib.request.Request(f"{get(S3).urls()['s3']}/moto-api/reset", method="POST")).close()
    client.create_bucket(Bucket="assets")
    return client


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def bucket(client):
    return Bucket(client, "assets", "static")


@pytest.fixture
def releases(bucket):
    return Releases(bucket)


def whole(releases, client):
    manifest = releases.manifest(releases.pointer().live)
    for asset in manifest.assets.values():
        for name, encoding, blob in asset.forms():
            found = client.get_object(Bucket="assets", Key=f"static/{name}")
            data = found["Body"].read()
            assert len(data) == blob.size
            assert found["ETag"].strip('"') == blob.md5
            assert found["ContentType"] == asset.type
            assert found.get("ContentEncoding", "") == encoding
            assert found["CacheControl"] == IMMUTABLE
    return True


def test_objects_have_the_headers_that_edges_need(store, releases, client):
    done = publish_(store, releases, ONE | {"photo.jpg": photo()})
    assert done.uploaded
    assert whole(releases, client)
    pointer = client.get_object(Bucket="assets", Key=f"static/{POINTER}")
    assert (pointer["CacheControl"], pointer["ContentType"]) == ("no-cache", "application/json")


def test_only_what_is_lacking_is_uploaded_and_back_is_one_move(store, releases, client):
    publish_(store, releases, ONE)
    one = releases.pointer().live
    assert publish_(store, releases, ONE).uploaded == 0
    done = publish_(store, releases, TWO)
    assert {each.name.partition(".")[0] for each in done.plan.uploads} == {"css/a", "d"}
    calls: Counter[str] = Counter()
    client.meta.events.register("before-call.s3", lambda model, **rest: calls.update([model.name]))
    assert rollback(releases)[1] == one
    assert calls["PutObject"] == 1
    assert whole(releases, client)


def test_an_object_with_other_bytes_is_put_again(store, releases, client):
    publish_(store, releases, ONE)
    (name,) = (name for name in releases.target.listing() if name.startswith("c."))
    client.put_object(Bucket="assets", Key=f"static/{name}", Body=b"One")
    assert publish_(store, releases, ONE).uploaded == 1
    assert whole(releases, client)


def test_many_unchanged_files_cost_a_few_requests(store, releases, client):
    contents = {f"img/{place:04}.bin": str(place) for place in range(1_200)}
    publish_(store, releases, contents, workers=8)
    calls: Counter[str] = Counter()
    client.meta.events.register("before-call.s3", lambda model, **rest: calls.update([model.name]))
    assert publish_(store, releases, contents).plan.idle
    assert calls == {"GetObject": 2, "ListObjectsV2": 2}


def test_of_two_who_move_the_pointer_one_wins(store, releases, client):
    publish_(store, releases, ONE)
    mine, theirs = releases.pointer(), releases.pointer()
    publish_(store, releases, TWO)
    releases.move(releases.pointer(), mine.live)
    for late in (mine, theirs):
        with pytest.raises(DeployConflict):
            releases.move(late, late.live)


def test_of_two_first_deploys_one_wins(store, releases):
    nothing = releases.pointer()
    publish_(store, releases, ONE)
    with pytest.raises(DeployConflict):
        releases.move(nothing, releases.pointer().live)


def test_eight_who_move_at_once(store, releases, client):
    publish_(store, releases, ONE)
    pointer = releases.pointer()
    won, lost = [], []
    barrier = threading.Barrier(8)

    def move():
        barrier.wait()
        try:
            won.append(releases.move(pointer, pointer.live))
        except DeployConflict:
            lost.append(1)

    threads = [threading.Thread(target=move) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)


def test_cleaning_deletes_what_only_old_releases_name(store, bucket, client):
    clock = ManualClock(wall=4_000_000_000.0)
    releases = Releases(bucket, clock)
    for place in range(3):
        publish_(store, releases, ONE | {"c.txt": str(place)})
        clock.advance(400 * DAY)
    client.put_object(Bucket="assets", Key="static/foreign.txt", Body=b"not ours")
    gc(releases, keep=1, grace=DAY)
    assert whole(releases, client)
    names = [name for name in releases.target.listing() if not name.startswith(FOLDER)]
    assert "foreign.txt" in names
    assert sum(name.startswith("c.") for name in names) == 1
    assert len(known(releases.target.listing())) == 1


class SteppingBucket(Stepping, Bucket):
    pass


def test_a_deploy_killed_at_any_step_leaves_what_was_live_and_the_next_one_goes_on(store, client):
    manifest = build(store, TWO).manifest
    for step in range(1, 40):
        place = f"static{step}"
        releases = Releases(Bucket(client, "assets", place))
        publish_(store, releases, ONE)
        before = releases.pointer().live
        ended = killed_at(
            step,
            lambda place=place: SteppingBucket(get(S3).client(), "assets", place),
            lambda there: deploy(manifest, store, there, brake=1.0, workers=1),
        )
        assert releases.pointer().live in {before, manifest.id}
        there = releases.target.listing()
        live = releases.manifest(releases.pointer().live)
        assert all(there[name].md5 == blob.md5 for asset in live.assets.values() for name, _, blob in asset.forms())
        publish_(store, releases, TWO)
        assert releases.pointer().live == manifest.id
        if ended:
            break
    assert ended
    assert step > 6


# Faults.


class Faults(socketserver.ThreadingTCPServer):
    """Stands before S3, and answers some requests itself, or cuts them off; ``choose`` says which and how."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port, choose):
        super().__init__(("127.0.0.1", 0), _Between)
        self.behind = port
        self.choose = choose
        self.seen: Counter[str] = Counter()


class _Between(socketserver.StreamRequestHandler):
    server: Faults

    def handle(self):
        while True:
            head = self._head()
            if not head:
                return
            method, path = head.split(b" ", 2)[:2]
            what = self.server.choose(method.decode(), path.decode())
            self.server.seen[what or "passed"] += 1
            if what == "lost":  # it is done, and nobody hears of it
                self._pass(head, self._length(head), tell=False)
                return
            if what == "cut":
                self.rfile.read(10)  # in the middle of what is uploaded
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            length = self._length(head)
            if what:
                if b"100-continue" in head.lower():
                    self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                self.rfile.read(length)
                code, name = what.split()
                body = f"<Error><Code>{name}</Code><Message>so it is</Message></Error>".encode()
                self.wfile.write(
                    f"HTTP/1.1 {code} X\r\nContent-Length: {len(body)}\r\n".encode()
                    + b"Content-Type: application/xml\r\n\r\n"
                    + body
                )
                continue
            self._pass(head, length)

    def _head(self):
        lines = []
        while line := self.rfile.readline():
            lines.append(line)
            if line == b"\r\n":
                return b"".join(lines)
        return b""

    @staticmethod
    def _length(head):
        lines = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
        return int(lines[0].split(b":")[1]) if lines else 0

    def _pass(self, head, length, tell=True):
        if b"100-continue" in head.lower():
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect"))
        with socket.create_connection(("127.0.0.1", self.server.behind)) as onward:
            onward.sendall(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1) + self.rfile.read(length))
            while data := onward.recv(65536):
                if tell:
                    self.wfile.write(data)
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_WR)


@contextmanager
def faults(choose, attempts=1):
    server = Faults(get(S3).ports["s3"], choose)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        client = get(S3).client(server.server_address[1], attempts)
        yield Releases(Bucket(client, "assets", "static")), server
    finally:
        server.shutdown()
        server.server_close()


def uploads(method, path):
    return method == "PUT" and FOLDER not in path


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("503 SlowDown", "fewer requests"),
        ("403 AccessDenied", "s3:PutObject"),
        ("403 InvalidAccessKeyId", "access key"),
        ("500 InternalError", "InternalError"),
        ("cut", "running this again goes on"),
    ],
)
@pytest.mark.parametrize("where", ["uploads", "pointer", "listing"])
def test_what_s3_refuses_is_told_and_nothing_half_is_live(store, releases, client, what, told, where):
    publish_(store, releases, ONE)
    live = releases.pointer().live

    def choose(method, path):
        hit = {
            "uploads": uploads(method, path),
            "pointer": method == "PUT" and POINTER in path,
            "listing": method == "GET" and "list-type" in path,
        }[where]
        return what if hit else ""

    with faults(choose) as (there, server), pytest.raises(TargetError, match=told) as error:
        publish_(store, there, TWO)
    assert "s3://assets/static" in str(error.value)
    assert server.seen[what]
    assert releases.pointer().live == live
    assert whole(releases, client)
    publish_(store, releases, TWO)
    assert whole(releases, client)


def test_a_fault_that_passes_is_tried_again(store, client):
    kinds = ["503 SlowDown", "cut", "500 InternalError"]
    failed = set()

    def choose(method, path):
        if not uploads(method, path) or not kinds or path in failed:
            return ""
        failed.add(path)
        return kinds.pop()

    with faults(choose, attempts=3) as (there, server):
        publish_(store, there, ONE)
        assert len(server.seen) == 4
    assert whole(Releases(Bucket(client, "assets", "static")), client)


def test_an_answer_that_is_lost_is_no_conflict(store, client):
    """The driver asks again, and hears that the pointer is not what it was: it is what we made of it."""
    lost = ["lost"]

    def choose(method, path):
        return lost.pop() if method == "PUT" and POINTER in path and lost else ""

    with faults(choose, attempts=3) as (there, server):
        done = publish_(store, there, ONE)
        assert server.seen["lost"] == 1
    assert done.live == build(store, ONE).manifest.id
    assert whole(Releases(Bucket(client, "assets", "static")), client)


def test_a_bucket_that_is_not_there_is_named(store, client):
    with pytest.raises(TargetError, match=r"s3://nowhere.*NoSuchBucket.*bucket_name"):
        publish_(store, Releases(Bucket(client, "nowhere")), ONE)


def test_nobody_listens(store):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        client = get(S3).client(closed.getsockname()[1], 1)
        with pytest.raises(TargetError, match=r"EndpointConnectionError.*endpoint_url"):
            publish_(store, Releases(Bucket(client, "assets")), ONE)


def test_a_pointer_is_json(store, releases, client):
    publish_(store, releases, ONE)
    assert json.loads(client.get_object(Bucket="assets", Key=f"static/{POINTER}")["Body"].read())["version"] == 1
