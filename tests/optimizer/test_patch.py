"""``--patch``: a diff that applies to the file and that a queryset takes, or the true reason why there is none."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest

from noa_perf.core.findings import Finding
from noa_perf.optimizer.proof.patch import Patch, patch_for
from noa_perf.optimizer.reading.source import Builder
from noa_perf.optimizer.report import Advice
from tests.library.models import Author, Book

ALL = "Book.objects.all()"
JOIN = '.select_related("author")'
MANY = '.prefetch_related("reviews")'
ADMIN = "class A:\n    a = ()\n\n    def f(self):\n        return Tag.objects.only('name')\n"
METHOD = "class A:\n    def get_queryset(self, request):\n        return super().get_queryset(request)"
LISTED = 'list_select_related = ("author",)'


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Return a file of a site, whose module knows the models."""
    path = tmp_path / "views.py"
    module = types.ModuleType("views")
    module.__file__ = str(path)
    vars(module).update(Book=Book, Author=Author, BOOKS=Book.objects.all())
    monkeypatch.setitem(sys.modules, "views", module)
    return path


def patched(file: Path, source: str, text: str, code: str, *, form: str = "expression", certain: bool = True) -> Patch:
    file.write_bytes(source.encode())
    begin = text.split("\n", maxsplit=1)[0]
    line = next(number for number, one in enumerate(source.encode().splitlines(), 1) if begin in one.decode())
    whole = text if form in ("expression", "queryset", "model") or "list_select_related =" in text else ""
    name = {"get_queryset": "A", "returned": "A.get_queryset"}.get(form, "f")
    builder = Builder(str(file), line, line + text.count("\n"), name, certain, form, whole)
    finding = Finding(kind="n_plus_one", subject="x", summary="", cure="", code=code)
    return patch_for(Advice(finding, builder, ()))


def applied(file: Path, made: Patch) -> str:
    """Return the file after ``patch`` has applied the diff to it."""
    assert made.diff, made.reason
    diff = file.with_suffix(".diff")
    diff.write_bytes(made.diff.encode())
    subprocess.run(["patch", "-s", "--binary", str(file), str(diff)], check=True)
    changed = file.read_bytes()
    compile(changed, "views.py", "exec")
    return changed.decode()


@pytest.mark.parametrize(
    ("source", "text", "code", "wanted"),
    [
        (f"rows = {ALL}\n", ALL, JOIN, f"rows = {ALL}{JOIN}\n"),
        (f"rows = {ALL}", ALL, JOIN, f"rows = {ALL}{JOIN}"),
        ("é = Book.objects.get(pk=1)\n", "Book.objects.get(pk=1)", JOIN, f"é = Book.objects{JOIN}.get(pk=1)\n"),
        (
            "rows = Book.objects.filter(\n    a=1,\n).iterator()\n",
            "Book.objects.filter(\n    a=1,\n).iterator()",
            JOIN,
            f"rows = Book.objects.filter(\n    a=1,\n){JOIN}.iterator()\n",
        ),
        ('rows = Book.objects.only("a")\n', 'Book.objects.only("a")', '"b"', 'rows = Book.objects.only("a", "b")\n'),
        ("c = {'b': Book.objects.all}\n", "Book.objects.all", JOIN, f"c = {{'b': Book.objects{JOIN}.all}}\n"),
        (
            "x, new = Book.objects.get_or_create(pk=1)\n",
            "Book.objects.get_or_create(pk=1)",
            JOIN,
            f"x, new = Book.objects{JOIN}.get_or_create(pk=1)\n",
        ),
        (
            "x = Book.objects.order_by('pk')[0]\n",
            "Book.objects.order_by('pk')[0]",
            JOIN,
            f"x = Book.objects.order_by('pk'){JOIN}[0]\n",
        ),
        ("x = Book.objects.all()[:5]\n", "Book.objects.all()[:5]", JOIN, f"x = Book.objects.all()[:5]{JOIN}\n"),
        (
            "x = get_object_or_404(Book, pk=1)\n",
            "get_object_or_404(Book, pk=1)",
            JOIN,
            f"x = get_object_or_404(Book.objects{JOIN}, pk=1)\n",
        ),
        (
            "x = get_list_or_404(Book.objects.order_by('pk'), a=1)\n",
            "get_list_or_404(Book.objects.order_by('pk'), a=1)",
            JOIN,
            f"x = get_list_or_404(Book.objects.order_by('pk'){JOIN}, a=1)\n",
        ),
        (
            "x = get_list_or_404(BOOKS, a=1)\n",
            "get_list_or_404(BOOKS, a=1)",
            JOIN,
            f"x = get_list_or_404(BOOKS{JOIN}, a=1)\n",
        ),
        # What stands for the end of a line to str.splitlines, and to Python does not.
        (f"\x0c\nt = 'a\u2028b\x85c'\nrows = {ALL}\n", ALL, JOIN, f"\x0c\nt = 'a\u2028b\x85c'\nrows = {ALL}{JOIN}\n"),
        (f"a = 1\r\nrows = {ALL}\r\nb = 1\r\n", ALL, JOIN, f"a = 1\r\nrows = {ALL}{JOIN}\r\nb = 1\r\n"),
        (f"\ufeffrows = {ALL}\n", ALL, JOIN, f"\ufeffrows = {ALL}{JOIN}\n"),
    ],
)
def test_an_expression(file, source, text, code, wanted):
    made = patched(file, source, text, code)

    assert applied(file, made) == wanted
    assert made.certain


@pytest.mark.parametrize(
    ("form", "source", "text", "code", "wanted"),
    [
        (
            "queryset",
            f"class V:\n    queryset = {ALL}\n",
            f"queryset = {ALL}",
            JOIN,
            f"class V:\n    queryset = {ALL}{JOIN}\n",
        ),
        (
            "model",
            "class V:\n    model = Book  # all\n    a = 1\n",
            "model = Book",
            f"queryset = Book.objects{JOIN}",
            f"class V:\n    model = Book  # all\n    queryset = Book.objects{JOIN}\n    a = 1\n",
        ),
        (
            "list_select_related",
            'class A:\n    é = ("a",); b = "é"  # x\n\n    def f(self):\n        pass\n',
            "class A:",
            LISTED,
            f'class A:\n    é = ("a",); b = "é"  # x\n    {LISTED}\n\n    def f(self):\n        pass\n',
        ),
        (
            "list_select_related",
            "class A:\r\n    @x\r\n    def f(self):\r\n        pass\r\n",
            "class A:",
            LISTED,
            f"class A:\r\n    {LISTED}\r\n\r\n    @x\r\n    def f(self):\r\n        pass\r\n",
        ),
        (
            "list_select_related",
            'class A:\n    é = "é"; list_select_related = True\n',
            "list_select_related = True",
            LISTED,
            f'class A:\n    é = "é"; {LISTED}\n',
        ),
        (
            "get_queryset",
            ADMIN,
            "class A:",
            f"super().get_queryset(request){MANY}",
            ADMIN + f"\n    def get_queryset(self, request):\n        return super().get_queryset(request){MANY}\n",
        ),
        (
            "returned",
            f"{METHOD}.filter(a=1)\n",
            "def get_queryset",
            MANY,
            f"{METHOD}.filter(a=1){MANY}\n",
        ),
    ],
)
def test_what_stands_for_an_expression(file, form, source, text, code, wanted):
    made = patched(file, source, text, code, form=form)

    assert applied(file, made) == wanted
    assert made.certain


@pytest.mark.parametrize(
    ("source", "text", "code", "form", "reason"),
    [
        (f"a = {ALL}\n", ALL, '.annotate(n=Count("a"))', "expression", "The loop has to change as well"),
        ("x\n", "x", JOIN, "template", "The template asks for the rows itself"),
        ("def f(): pass\n", "def f", JOIN, "get_list_select_related", "A method says what is joined"),
        (
            "a = shelf.b.get_or_create(a=1)\n",
            "shelf.b.get_or_create(a=1)",
            JOIN,
            "expression",
            "may be a related manager",
        ),
        ("a = get_list_or_404(qs)\n", "get_list_or_404(qs)", JOIN, "expression", "What qs is at"),
        ("a = Book.objects.published\n", "Book.objects.published", JOIN, "expression", "nothing is certain to be a q"),
        ("a = Book.objects.values('a')\n", "Book.objects.values('a')", JOIN, "expression", "values() gives no objects"),
        ("a = BOOKS.union(BOOKS)\n", "BOOKS.union(BOOKS)", JOIN, "expression", "union() takes no select_related()"),
        ("a = BOOKS.only('id')\n", "BOOKS.only('id')", JOIN, "expression", 'has to let "author" through'),
        ("a = BOOKS.iterator()\n", "BOOKS.iterator()", MANY, "expression", "needs a chunk_size"),
        ("a = BOOKS.defer('a')\n", "BOOKS.defer('a')", '"a"', "expression", "look for its .defer()"),
        ("class A: pass\n", "class A", f"super().get_queryset(request){MANY}", "get_queryset", "written on one line"),
        (
            "class A:\n    def get_queryset(self, r):\n        if r: return a\n        return b\n",
            "def get_queryset",
            MANY,
            "returned",
            "is not one expression",
        ),
        ("a = f'{BOOKS.all()!r}'\n" if sys.version_info < (3, 12) else "a = 1\n", "a", JOIN, "expression", "located"),
    ],
)
def test_no_diff_and_the_true_reason(file, source, text, code, form, reason):
    made = patched(file, source, text, code, form=form)

    assert made.diff == ""
    assert reason in made.reason


def test_a_guess_is_said_to_be_one(file):
    assert not patched(file, f"a = {ALL}\n", ALL, JOIN, certain=False).certain
    assert not patched(file, f"a = {ALL}, {ALL}\n", ALL, JOIN).certain
    made = patched(file, "a = Book.objects.for_shop(1)\n", "Book.objects.for_shop(1)", JOIN)
    assert made.diff
    assert not made.certain


def test_no_diff_where_the_line_is_not_there_any_more(file):
    finding = Finding(kind="n_plus_one", subject="x", summary="", cure="", code=JOIN)
    gone = Advice(finding, Builder(str(file), 1, 1, "f", True, "expression", ALL), ())
    assert "could not be read (FileNotFoundError)" in patch_for(gone).reason
    file.write_text("a = 1\n")
    assert "could not be located" in patch_for(gone).reason
    assert "was not found" in patch_for(Advice(finding, None, ())).reason
