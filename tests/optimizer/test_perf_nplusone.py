"""``perf_nplusone``: a cure is proved on the page itself, and only then recommended; files stay as they are."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import QuerySet

from noa_perf.optimizer import visits
from noa_perf.optimizer.proof.answers import Answer, Likeness
from noa_perf.optimizer.proof.change import Change, change_of
from noa_perf.optimizer.proof.replay import Target
from noa_perf.optimizer.proof.trial import Runs, _judgement
from tests.library.fill import fill
from tests.optimizer import proof_urls

pytestmark = pytest.mark.django_db


@pytest.fixture
def site(settings):
    settings.ROOT_URLCONF = "tests.optimizer.proof_urls"
    settings.ALLOWED_HOSTS = ["testserver"]
    fill(12)


def run(*args: str, code: int = 0) -> str:
    out = io.StringIO()
    ended: Any = 0
    try:
        call_command("perf_nplusone", *args, stdout=out)
    except CommandError as error:
        ended = error.returncode
    assert ended == code
    return out.getvalue()


def page(url: str, *args: str, code: int = 0):
    (found,) = json.loads(run("--verify", url, "--format", "json", *args, code=code))["pages"]
    return found


@pytest.mark.parametrize(("name", "after"), [("plain", 1), ("built_upon", 2), ("deferred", 1), ("streamed", 1)])
def test_a_cure_that_helps_is_recommended(site, name, after):
    source = Path(proof_urls.__file__).read_bytes()
    found = page(f"/{name}/")

    (cure,) = found["cures"]
    assert cure["recommended"], cure["reason"]
    assert found["before"]["queries"] == after + 12
    assert cure["after"]["queries"] == after
    assert Path(proof_urls.__file__).read_bytes() == source


@pytest.mark.parametrize("name", ["revealing", "in_json", "in_one_line", "far_down", "in_a_header", "in_a_redirect"])
def test_a_cure_that_changes_the_answer_is_not_recommended(site, name):
    (cure,) = page(f"/{name}/")["cures"]

    assert (cure["recommended"], cure["reason"]) == (False, "The cure changes the answer.")


def test_a_cure_that_changes_the_loop_too_is_left_to_a_person(site):
    (cure,) = page("/counted/")["cures"]

    assert not cure["recommended"]
    assert "only a person can try it" in cure["reason"]
    assert cure["after"] is None


@pytest.mark.parametrize("name", ["token", "clock"])
def test_what_varies_by_itself_is_no_change(site, name):
    (cure,) = page(f"/{name}/")["cures"]

    assert cure["recommended"], cure["reason"]


@pytest.mark.parametrize(
    ("name", "obstacle", "code"),
    [("restless", "differs from one request to the next", 0), ("broken", "RuntimeError: out of paper", 2)],
)
def test_a_page_that_cannot_be_compared_proves_nothing(site, name, obstacle, code):
    found = page(f"/{name}/", code=code)

    assert obstacle in found["obstacle"]
    assert not any(cure["recommended"] for cure in found["cures"])


@pytest.mark.parametrize("option", ["--verify", "--url"])
def test_a_page_that_does_not_answer_ends_with_2(site, option):
    with pytest.raises(CommandError, match=r"/broken/ failed \(RuntimeError: out of paper\)\.") as error:
        call_command("perf_nplusone", option, "/broken/", stdout=io.StringIO())
    assert error.value.returncode == 2
    assert "Nothing is fetched one by one" not in run(option, "/broken/", code=2)
    run(option, "/no/such/page/", code=2)


def test_an_answer_that_is_too_large_to_be_compared_proves_nothing(site, monkeypatch):
    monkeypatch.setattr(visits, "MAX_BODY", 10)
    found = page("/plain/")

    assert "too large to be compared" in found["obstacle"]
    assert not any(cure["recommended"] for cure in found["cures"])


def test_what_waits_for_a_commit_is_named(site):
    assert page("/posting/")["notes"] == ["1 calls wait for a commit (on_commit), and were not replayed."]


def test_the_querysets_are_as_they_were_afterwards(site):
    names = ("_fetch_all", "_iterator")
    before = [getattr(QuerySet, name) for name in names]
    page("/plain/")

    assert [getattr(QuerySet, name) for name in names] == before


def test_reads_as_text(site):
    printed = run("--verify", "/plain/", "--patch")

    assert "recommended: The same answer" in printed
    assert '+    books = Book.objects.order_by("pk").select_related("author")' in printed
    assert "with cure 1" in printed


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("listed", '    queryset = Book.objects.order_by("pk").select_related("author")'),
        ("served", '    queryset = Book.objects.order_by("title").select_related("author")'),
        ("of_model", '    queryset = Book.objects.select_related("author")'),
        ("shortcut", '    books = get_list_or_404(Book.objects.select_related("author"), pages__gte=0)'),
        ("handed_on", '    context = {"books": Book.objects.select_related("author").all}'),
    ],
)
def test_a_diff_for_whatever_builds_the_queryset(site, name, line):
    printed = run("--verify", f"/{name}/", "--patch")

    assert f"+{line}\n" in printed
    assert "is a guess" not in printed


def test_without_proof_it_names_the_cures_alone(site):
    found = json.loads(run("--url", "/plain/", "--format", "json"))

    (cure,) = found["pages"][0]["cures"]
    assert cure["finding"]["code"] == '.select_related("author")'
    assert "reason" not in cure
    assert found["findings"]


def test_bad_input_names_the_cure(site):
    with pytest.raises(CommandError, match="--verify /"):
        call_command("perf_nplusone")
    with pytest.raises(CommandError, match="Begin it with a slash"):
        call_command("perf_nplusone", "--verify", "plain/")


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ('.select_related("a__b", "c")', Change("select_related", ("a__b", "c"))),
        ('.prefetch_related("a")', Change("prefetch_related", ("a",))),
        ('queryset = Book.objects.select_related("a")', Change("select_related", ("a",))),
        ('super().get_queryset(request).prefetch_related("a")', Change("prefetch_related", ("a",))),
        ('list_select_related = ("a", "b")', Change("select_related", ("a", "b"))),
        ('"pages"', Change("only", ("pages",))),
        ('.annotate(n=Count("a"))', None),
        ('.prefetch_related(Prefetch("a", to_attr="b"))', None),
        (".in_bulk(ids)", None),
        ("IN (...)", None),
        ("", None),
    ],
)
def test_code_as_a_change_to_a_queryset(code, change):
    assert change_of(code) == change


def text(body):
    return Answer(200, {}, {}, body)


def runs(queries, ms, body=b"x", error=""):
    return Runs([{"status": 200, "queries": queries, "database_ms": ms, "ms": ms, "error": error}], [text(body)])


def target(met=1):
    return Target((), Change("only", ()), met)


@pytest.mark.parametrize(
    ("after", "recommended", "word"),
    [
        (runs(1, 1.0), True, "same answer"),
        (runs(9, 1.0), False, "does not help"),
        (runs(1, 9.0), False, "no time"),
        (runs(1, 1.0, b"y"), False, "changes the answer"),
        (runs(1, 1.0, error="ValueError: x"), False, "fails"),
    ],
)
def test_judgement(after, recommended, word):
    judged, reason = _judgement(runs(9, 5.0), after, target())

    assert judged is recommended
    assert word in reason


def test_a_queryset_that_was_not_met_again_proves_nothing():
    assert _judgement(runs(9, 5.0), runs(1, 1.0), target(met=0))[0] is False


def json_answer(value):
    return Answer(200, {"Content-Type": "application/json"}, {}, json.dumps(value).encode())


@pytest.mark.parametrize(
    ("before", "after", "alike"),
    [
        ([text(b"<a>1<b>x"), text(b"<a>2<b>x")], text(b"<a>3<b>x"), True),
        ([text(b"<a>1<b>x"), text(b"<a>2<b>x")], text(b"<a>1<b>y"), False),
        ([text(b"<a>1 x"), text(b"<a>2 x")], text(b"<a>2 y"), False),
        ([text(b"<a>1 x"), text(b"<a>2 x")], text(b"<a>2 x x"), False),
        ([text(b"nonce='a+/b=='"), text(b"nonce='cd3='")], text(b"nonce='////'"), True),
        ([json_answer({"t": 1, "r": [1]}), json_answer({"t": 2, "r": [1]})], json_answer({"r": [1], "t": 3}), True),
        ([json_answer({"t": 1, "r": [1]}), json_answer({"t": 2, "r": [1]})], json_answer({"t": 3, "r": []}), False),
        ([json_answer({"t": 1, "r": [1]}), json_answer({"t": 2, "r": [1]})], json_answer({"t": 3, "r": ["1"]}), False),
        ([json_answer({"t": "a b"}), json_answer({"t": "a"})], json_answer({"t": "c d e"}), True),
        ([Answer(200, {"X": "1"}, {}, b"")], Answer(200, {"X": "2"}, {}, b""), False),
        ([Answer(200, {"X": "1"}, {}, b"")], Answer(200, {}, {}, b""), False),
        ([Answer(200, {"Expires": "1"}, {}, b"")], Answer(200, {"Expires": "2"}, {}, b""), True),
        ([Answer(200, {"X-Query-Count": "9"}, {}, b"")], Answer(200, {"X-Query-Count": "1"}, {}, b""), True),
        (
            [Answer(200, {}, {"a": "a=1"}, b""), Answer(200, {}, {"a": "a=2"}, b"")],
            Answer(200, {}, {"a": "a=3"}, b""),
            True,
        ),
        ([Answer(200, {}, {"a": "a=1"}, b"")], Answer(200, {}, {}, b""), False),
        ([text(b"")], Answer(201, {}, {}, b""), False),
    ],
)
def test_answers_are_compared_by_all_but_what_varies_by_itself(before, after, alike):
    assert Likeness.of(before).admits(after) is alike


@pytest.mark.parametrize(
    "answers",
    [
        [text(b"<a>1<b>"), text(b"<a>2<b>3<c>")],
        [json_answer({"t": 1}), json_answer({"u": 1})],
        [text(b""), Answer(500, {}, {}, b"")],
    ],
)
def test_answers_that_have_nothing_in_common(answers):
    assert Likeness.of(answers) is None
