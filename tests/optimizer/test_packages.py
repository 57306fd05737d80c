"""The site's own line before that of an installed app, and the line behind what a template shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.template.loader import render_to_string
from django.test import Client, override_settings
from django.urls import path

from noa_perf.core.findings import Finding, Place
from noa_perf.optimizer import callsite
from noa_perf.optimizer.by_place import gathered
from noa_perf.optimizer.cures.duplicates import OF_A_LIST
from tests.library import packaged
from tests.library.fill import fill
from tests.library.models import Atlas, Author, Book, Friend, Item, Note, Review, Shelf, Tag
from tests.optimizer.helpers import findings_of

pytestmark = pytest.mark.django_db

TEMPLATES = Path(packaged.__file__).parent / "templates" / "library"


@pytest.fixture(autouse=True)
def library(db, monkeypatch):
    fill()
    monkeypatch.setitem(callsite.kinds, packaged.__file__, callsite.PACKAGE)


def found_in(block: Any, subject: str) -> Finding:
    (found,) = [one for one in findings_of(block, "n_plus_one") if one.subject == subject]
    return found


def line_of(place: Place | None) -> str:
    assert place is not None
    return Path(place.file).read_text().splitlines()[place.line - 1].strip()


def shown(name: str, **context: Any) -> str:
    return render_to_string(f"library/{name}.html", context)


def author_with_all_books() -> Author:
    author = Author.objects.earliest("pk")
    Book.objects.update(author=author)
    return author


# The site's own line, and an installed app's


def test_the_sites_own_line_is_named_before_that_of_an_installed_app():
    def block():
        for book in Book.objects.order_by("pk"):
            packaged.author_of(book)

    found = found_in(block, "Book.author")

    assert line_of(found.where) == "packaged.author_of(book)"
    assert line_of(found.change) == 'for book in Book.objects.order_by("pk"):'


def test_one_tag_of_an_installed_app_in_two_loops_is_two_findings():
    books = {"newest": Book.objects.order_by("-pk"), "oldest": Book.objects.order_by("pk")}
    found = [one for one in findings_of(lambda: shown("tagged", **books), "n_plus_one") if one.subject == "Book.author"]

    assert {one.template.line for one in found} == {2, 3}


def test_what_an_installed_app_filters_is_left_to_its_source():
    found = found_in(lambda: shown("chosen", newest=Book.objects.order_by("-pk")), "Book.reviews")

    assert found.code == '.prefetch_related("reviews")'
    assert "tests/library/packaged.py" in found.cure
    assert "to_attr" not in found.cure


def test_what_a_template_asks_twice_is_kept_in_the_template():
    author = author_with_all_books()
    (found,) = [
        one for one in findings_of(lambda: shown("repeated", author=author), "duplicate") if one.subject == "Book"
    ]

    assert line_of(found.change).startswith("{% if author.books.all %}")
    assert "{% with %}" in found.cure


def test_what_an_installed_app_asks_twice_for_one_tag_is_its_own_to_keep():
    found = findings_of(lambda: shown("repeated", author=Author.objects.earliest("pk")), "duplicate")

    assert {line_of(one.change).split("(")[0] for one in found if one.subject == "Author"} == {"return str"}


# What a template loops over


def test_a_name_that_with_binds_is_what_it_stands_for():
    author = author_with_all_books()
    found = found_in(lambda: shown("bound", author=author), "Book.publisher")

    assert line_of(found.change) == "{% with books=author.books.all %}"
    assert found.code == '.select_related("publisher")'
    assert "`author.books.all` in the template asks for the rows" in found.cure


class Page:
    """Somebody's page, whose context no view and no frame leads to."""

    def context(self) -> dict[str, Any]:
        return {"shown": Book.objects.order_by("pages")}


class ShelfPage:
    """Called as its template is."""

    def context(self) -> dict[str, Any]:
        context = {}
        context["shown"] = Book.objects.order_by("title")
        return context


def menu() -> dict[str, Any]:
    """library/menu.html"""
    return {"entries": books_of_the_menu()}


def books_of_the_menu() -> Any:
    return Book.objects.order_by("-title")


def lazily(make: Any) -> dict[str, Any]:
    """Return a context whose maker has returned: nothing on the stack tells of it."""
    return dict(make())


def test_of_two_who_hand_it_in_the_one_called_like_the_template_is_meant():
    context = lazily(ShelfPage().context)
    found = found_in(lambda: shown("shelf_page", **context), "Book.author")

    assert line_of(found.change) == 'context["shown"] = Book.objects.order_by("title")'
    assert found.certain


def one_pair() -> dict[str, Any]:
    return {"pair": Book.objects.order_by("pages")}


def another_pair() -> dict[str, Any]:
    return {"pair": Book.objects.order_by("price")}


def test_where_nothing_tells_them_apart_it_is_a_guess():
    context = lazily(another_pair)
    found = found_in(lambda: shown("pair", **context), "Book.author")

    assert line_of(found.change).startswith('return {"pair":')
    assert not found.certain


def test_one_who_names_the_template_is_meant_and_helpers_are_followed():
    context = lazily(menu)
    found = found_in(lambda: shown("menu", **context), "Book.author")

    assert line_of(found.change) == 'return Book.objects.order_by("-title")'
    assert found.certain


def test_a_queryset_of_a_model_that_a_template_runs_is_laid_to_who_built_it():
    context = lazily(menu)

    def block():
        for _ in range(4):
            shown("menu", entries=context["entries"].filter(pages=_))

    found = [one for one in findings_of(block, "n_plus_one") if one.subject == "Book.objects.all()"]

    assert [line_of(one.change) for one in found] == ['return Book.objects.order_by("-title")']


def test_a_method_of_a_model_that_a_template_calls_is_the_line(monkeypatch):
    author = author_with_all_books()
    monkeypatch.setattr(Author, "short_books", short_books, raising=False)
    found = found_in(lambda: shown("tags", author=author), "Book.publisher")

    assert line_of(found.change) == "return author.books.filter(pages__lt=100)"


def short_books(author: Author) -> Any:
    return author.books.filter(pages__lt=100)


# Rows of one object, of a parent model, of none


def test_the_relation_of_the_pages_one_object_is_changed_where_it_is_asked_for():
    def block():
        author = Author.objects.get(pk=author_with_all_books().pk)
        return author, shown("author", author=author)

    found = found_in(block, "Book.publisher")

    assert found.code in ('.select_related("publisher")', '.prefetch_related("books__publisher")')
    assert found.change is not None


@pytest.fixture
def atlases(db):
    for number in range(4):
        Atlas.objects.create(name=f"atlas {number}", scale=number)


@pytest.mark.usefixtures("atlases")
def test_rows_fetched_again_as_those_of_a_child_model_are_mended_where_the_list_is_built():
    def block():
        for item in Item.objects.order_by("name"):
            Atlas.objects.get(pk=item.pk).scale

    found = found_in(block, "Atlas.objects.get()")

    assert line_of(found.change) == 'for item in Item.objects.order_by("name"):'
    assert "have Atlas.objects fetch the list" in found.cure


@pytest.mark.usefixtures("atlases")
def test_a_method_of_the_queryset_called_like_the_attribute_is_the_cure():
    def block():
        for item in Item.objects.order_by("name"):
            packaged.whole(item).scale

    found = found_in(block, "Atlas.objects.get()")

    assert found.code == ".whole()"
    assert line_of(found.change) == 'for item in Item.objects.order_by("name"):'


@pytest.mark.usefixtures("atlases")
def test_a_parents_row_that_came_by_its_key_is_of_no_list():
    def block():
        list(Item.objects.order_by("name"))
        for pk in list(Atlas.objects.values_list("pk", flat=True)):
            item = Item.objects.get(pk=pk)
            Atlas.objects.get(pk=item.pk)

    assert "in_bulk(ids)" in found_in(block, "Atlas.objects.get()").code


def test_rows_that_no_query_fetched_are_loaded_for_as_a_list():
    authors = list(Author.objects.values_list("pk", flat=True))

    def block():
        for book in [Book(author_id=pk) for pk in authors]:
            book.author.name

    found = found_in(block, "Book.author")

    assert found.code == 'prefetch_related_objects(rows, "author")'
    assert line_of(found.change) == "book.author.name"


def test_a_step_to_another_row_of_the_same_model_is_read_off_the_line():
    shelves = [Shelf.objects.create(name=str(n), parent=Shelf.objects.create(name=f"p{n}")) for n in range(3)]
    tops = [Shelf.objects.create(name=f"top {n}") for n in range(3)]
    for shelf, top in zip(shelves, tops, strict=True):
        Shelf.objects.filter(children=shelf).update(parent=top)

    def block():
        for shelf in Shelf.objects.filter(name__in=["0", "1", "2"]).select_related("parent"):
            shelf.parent.parent.name

    assert found_in(block, "Shelf.parent").code == '.select_related("parent__parent")'


# Cures in words that fit


def test_what_django_keeps_for_the_process_is_none():
    ContentType.objects.clear_cache()

    def block():
        for model in (Author, Book, Review, Tag, Note):
            ContentType.objects.get_for_model(model)

    assert findings_of(block, "n_plus_one") == []


def test_a_field_of_another_model_is_named_with_it():
    def block():
        for book in Book.objects.order_by("pk"):
            list(Tag.objects.filter(books=book).values_list("name", flat=True))

    found = [one for one in findings_of(block, "n_plus_one") if one.kind == "n_plus_one"]

    assert all("Tag.objects.filter(book__in" not in one.cure for one in found)
    assert any("Book_tags.book" in one.cure for one in found)


def test_fields_of_another_model_are_not_written_as_the_models_own():
    def block():
        for book in Book.objects.order_by("pk"):
            list(Author.objects.filter(books__title=book.title, books__pages=book.pages))

    found = found_in(block, "Author.objects.all()")

    assert found.code == ""
    assert "title" not in found.cure


@pytest.mark.parametrize("condition", ["pattern", "exclusion"])
def test_a_condition_that_no_list_stands_for_is_not_written_as_one(condition):
    def block():
        for book in Book.objects.order_by("pk"):
            other = Author.objects.filter(name__startswith=book.title)
            (other if condition == "pattern" else Author.objects.exclude(pk=book.pk, name=book.title)).count()

    found = found_in(block, "Author.objects.count()")

    assert found.code == ""
    assert "in a statement that has the conditions of all runs" in found.cure


def test_one_owner_asked_for_a_list_each_time_is_asked_once():
    everybody = [Friend.objects.create(name=str(number)) for number in range(6)]
    ada = everybody[0]
    ada.follows.set(everybody[1:])
    pairs = [everybody[1:3], everybody[2:4], everybody[3:5]]

    def block():
        for pair in pairs:
            list(ada.follows.filter(pk__in=[one.pk for one in pair], name__gt=pair[0].name))

    assert "prefetch_related" not in found_in(block, "Friend.follows").code


# The admin


class TagAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name",)


class PermissionInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Group.permissions.through
    extra = 3


class GroupAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    inlines = (PermissionInline,)
    exclude = ("permissions",)


own_admin = admin.AdminSite(name="own")
own_admin.register(Tag, TagAdmin)
own_admin.register(Group, GroupAdmin)
urlpatterns = [path("own/", own_admin.urls)]


def duplicates_of(url: str) -> list[Finding]:
    client = Client()
    client.force_login(User.objects.create_superuser("ada"))
    with override_settings(ROOT_URLCONF=__name__):
        return findings_of(lambda: client.get(url), "duplicate")


def test_a_list_of_the_admin_that_counts_twice_is_told_of_the_setting():
    (found,) = [one for one in duplicates_of("/own/library/tag/") if one.subject == "Tag"]

    assert (found.code, found.severity) == (OF_A_LIST, "low")


def test_select_boxes_of_inlines_are_told_of_autocomplete():
    group = Group.objects.create(name="writers")
    group.permissions.set(Permission.objects.all()[:2])

    (found,) = [one for one in duplicates_of(f"/own/auth/group/{group.pk}/change/") if one.subject == "Permission"]

    assert found.code == "autocomplete_fields"


# One finding for each place


def finding(route: str, ms: float, **changes: Any) -> Finding:
    made: dict[str, Any] = {
        "kind": "n_plus_one",
        "subject": "Book.author",
        "summary": "",
        "cure": "",
        "fingerprint": "f",
    }
    return Finding(route=route, ms=ms, **(made | changes))


def test_one_place_on_many_routes_is_one_finding():
    (found,) = gathered(
        [finding("/a/", 1.0, count=3), finding("/b/", 5.0, count=4), finding("/b/", 1.0, severity="high")]
    )

    assert (found.route, found.count, found.ms, found.severity) == ("/b/", 8, 7.0, "high")
    assert found.evidence["routes"] == ["/a/"]


def test_another_line_is_another_finding():
    lines = [finding("/a/", 1.0, change=Place(file="x.py", line=line)) for line in (1, 2)]

    assert gathered(lines) == lines


def test_lists_of_the_admin_that_count_twice_are_one_finding():
    found = gathered([finding(f"/{name}/", 1.0, subject=name, code=OF_A_LIST) for name in "abc"])

    assert [(one.subject, one.evidence["routes"]) for one in found] == [("ModelAdmin", ["/b/", "/c/"])]
