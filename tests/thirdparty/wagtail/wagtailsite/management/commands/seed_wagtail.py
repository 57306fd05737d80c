"""A small, seeded magazine: posts, people, sections, forms, and an editorial team at work."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import transaction
from PIL import Image as Picture
from wagtail.contrib.forms.models import FormSubmission
from wagtail.contrib.redirects.models import Redirect
from wagtail.documents.models import Document
from wagtail.images.models import Image
from wagtail.models import Collection, Comment, Page, Site, Workflow
from wagtail.signal_handlers import disable_reference_index_auto_update

from wagtailsite.models import (
    Author,
    BlogIndexPage,
    BlogPage,
    BlogPageGalleryImage,
    BlogPageRelatedPage,
    BlogTagIndexPage,
    Category,
    FooterText,
    FormField,
    FormPage,
    HomePage,
    HomePageFeatured,
    NavigationSettings,
    PersonPage,
    StandardPage,
    TeamIndexPage,
)

WORDS = ["quiet", "northern", "copper", "folding", "paper", "winter", "plain", "little", "heavy", "blue"]
THINGS = ["orchard", "ladder", "press", "basket", "kettle", "garden", "cider", "spade", "hedge", "letter"]
TAGS = ["apples", "pears", "pruning", "grafting", "soil", "bees", "frost", "harvest"]
NAMES = ["Ada", "Bela", "Cleo", "Dora", "Emil", "Fanny", "Gus", "Hedda", "Ivo", "Juno", "Karl", "Lena"]
START = datetime(2024, 1, 1, 9, tzinfo=UTC)


class Command(BaseCommand):
    """Fill a migrated database; the same seed gives the same magazine."""

    help = __doc__ or ""

    def add_arguments(self, parser: Any) -> None:
        """Add the size and the seed."""
        parser.add_argument("--posts", type=int, default=60)
        parser.add_argument("--seed", type=int, default=1)

    def handle(self, **options: Any) -> None:
        """Make the magazine; its references are indexed once, at the end, not at each of two thousand saves."""
        with transaction.atomic(), disable_reference_index_auto_update():
            Seed(random.Random(options["seed"])).make(options["posts"])
        call_command("rebuild_references_index", verbosity=0)
        self.stdout.write(f"{Page.objects.count()} pages, {Image.objects.count()} images")


class Seed:
    """Everything that is made, each thing from what was made before it."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.staff = get_user_model().objects.create_superuser("staff", "staff@example.com", "staff")
        self.editors = [make_user(name, "Editors") for name in NAMES[:3]]
        self.moderators = [make_user(name, "Moderators") for name in NAMES[3:5]]
        self.images = [self.make_image(number) for number in range(24)]
        self.documents = [self.make_document(number) for number in range(6)]
        self.authors = [
            Author.objects.create(name=name, author_image=self.images[number]) for number, name in enumerate(NAMES)
        ]
        self.categories = [Category.objects.create(name=each.title(), slug=each) for each in THINGS[:6]]

    def make(self, posts: int) -> None:
        """Make all pages, and what the editors did to them."""
        home = self.make_home()
        sections = [self.make_section(home, title) for title in ("About", "Visiting", "Growing")]
        self.make_team(home)
        blog = self.make_blog(home, posts)
        self.make_forms(home)
        for page in (*sections[:2], *blog[:4]):
            HomePageFeatured.objects.create(page=home, shown=page, sort_order=page.pk)
        home.save_revision(user=self.staff).publish()
        self.edit(blog)
        self.make_rest(home, blog)

    def title(self) -> str:
        """Return a few words."""
        return f"{self.dice.choice(WORDS)} {self.dice.choice(THINGS)}".capitalize()

    def make_image(self, number: int) -> Image:
        """Return a small picture of one colour."""
        file = BytesIO()
        Picture.new("RGB", (80, 60), tuple(self.dice.randrange(256) for _ in "rgb")).save(file, "PNG")
        collection = collection_of(("Harvest", "People")[number % 2])
        name = f"picture-{number}.png"
        content = ContentFile(file.getvalue(), name=name)
        made = Image(title=self.title(), file=content, collection=collection, uploaded_by_user=self.staff)
        made.file_size = content.size
        made.save()
        made.get_file_hash()
        made.tags.set(self.dice.sample(TAGS, 2))
        return made

    def make_document(self, number: int) -> Document:
        """Return a text to download."""
        content = ContentFile(f"Document {number}".encode(), name=f"document-{number}.txt")
        made = Document(title=self.title(), file=content, uploaded_by_user=self.staff, file_size=content.size)
        made.save()
        made.get_file_hash()
        return made

    def make_home(self) -> HomePage:
        """Put our home page in the place of wagtail's welcome page."""
        root = Page.objects.get(depth=1)
        welcome = root.get_first_child()
        home = root.add_child(
            instance=HomePage(title="The Orchard", slug="orchard", image=self.images[0], body="<p>Welcome.</p>")
        )
        Site.objects.update(root_page=home, site_name="The Orchard")
        Site.clear_site_root_paths_cache()
        welcome.delete()
        return HomePage.objects.get(pk=home.pk)

    def body(self, pages: list[Page]) -> list[Any]:
        """Return blocks of every kind."""
        pictures = self.dice.sample(self.images, 3)
        blocks: list[Any] = [("heading", self.title()), ("paragraph", f"<p>{self.title()} and more.</p>")]
        blocks += [("image", {"image": picture, "caption": picture.title}) for picture in pictures]
        blocks += [("quote", {"text": self.title(), "author": author}) for author in self.dice.sample(self.authors, 2)]
        if pages:
            chosen = self.dice.sample(pages, min(4, len(pages)))
            blocks.append(("links", [{"page": page, "text": ""} for page in chosen]))
        return [*blocks, ("document", self.dice.choice(self.documents))]

    def make_section(self, home: HomePage, title: str) -> StandardPage:
        """Add a section of three levels."""
        top = self.add(home, StandardPage(title=title, introduction=self.title(), show_in_menus=True))
        for _ in range(4):
            page = StandardPage(title=self.title(), introduction=self.title(), image=self.dice.choice(self.images))
            page.show_in_menus = True
            inner = self.add(top, page)
            self.add(inner, StandardPage(title=self.title(), introduction=self.title()))
        return top

    def make_team(self, home: HomePage) -> None:
        """Add everybody who works here."""
        team = self.add(home, TeamIndexPage(title="Team", intro="<p>Who we are.</p>", show_in_menus=True))
        for number, author in enumerate(self.authors):
            image = self.images[number + 6]
            self.add(team, PersonPage(title=author.name, job_title=self.title(), image=image, author=author))

    def make_blog(self, home: HomePage, posts: int) -> list[BlogPage]:
        """Add the blog, the page of its tags, and the posts."""
        index = self.add(home, BlogIndexPage(title="Blog", slug="blog", intro="<p>News.</p>", show_in_menus=True))
        self.add(home, BlogTagIndexPage(title="Tags", slug="tags"))
        made: list[BlogPage] = []
        for number in range(posts):
            made.append(self.make_post(index, number, made))
        return made

    def make_post(self, index: BlogIndexPage, number: int, earlier: list[BlogPage]) -> BlogPage:
        """Add one post."""
        day = START + timedelta(days=number)
        page = BlogPage(title=f"{self.title()} {number}", intro=self.title(), date=day.date(), owner=self.editors[0])
        page.body = self.body(earlier)
        page.authors = self.dice.sample(self.authors, self.dice.choice([1, 2, 3]))
        page.categories = self.dice.sample(self.categories, 2)
        page.tags.add(*self.dice.sample(TAGS, 3))
        page.gallery_images = [
            BlogPageGalleryImage(image=image, caption=image.title) for image in self.dice.sample(self.images, 4)
        ]
        related = self.dice.sample(earlier, min(3, len(earlier)))
        page.related_pages = [BlogPageRelatedPage(related=each) for each in related]
        page.first_published_at = day
        return self.add(index, page)

    def make_forms(self, home: HomePage) -> None:
        """Add two forms, and what visitors sent by them."""
        for title in ("Contact", "Newsletter"):
            page = FormPage(title=title, intro="<p>Write to us.</p>", thank_you_text="<p>Thank you.</p>")
            page.form_fields = [
                FormField(label="Name", field_type="singleline", sort_order=1),
                FormField(label="Email", field_type="email", sort_order=2),
                FormField(label="Message", field_type="multiline", sort_order=3, required=False),
            ]
            form = self.add(home, page)
            for name in NAMES[:8]:
                data = {"name": name, "email": f"{name.lower()}@example.com", "message": self.title()}
                FormSubmission.objects.create(page=form, form_data=data)

    def edit(self, posts: list[BlogPage]) -> None:
        """Revise some posts, hand some to the moderators, lock one, and leave drafts and comments."""
        workflow = Workflow.objects.get(name="Moderators approval")
        for number, post in enumerate(posts[:18]):
            user = self.editors[number % len(self.editors)]
            post.title += ", revised"
            revision = post.save_revision(user=user, log_action=True)
            if number % 3 == 0:
                revision.publish(user=self.staff)
            elif number % 3 == 1:
                workflow.start(post, user)
            else:
                Comment.objects.create(page=post, user=user, text="Is this so?", contentpath="intro")
        locked = posts[20]
        locked.locked, locked.locked_by, locked.locked_at = True, self.moderators[0], START
        locked.save()

    def make_rest(self, home: HomePage, posts: list[BlogPage]) -> None:
        """Add the footer, the settings, redirects, and an old page."""
        FooterText.objects.create(body="<p>Grown in the open.</p>").save_revision().publish()
        NavigationSettings.objects.create(mastodon_url="https://social.example.com/@orchard")
        for number, post in enumerate(posts[:8]):
            Redirect.objects.create(old_path=f"/old/{number}", redirect_page=post, site=Site.objects.get())
        posts[-1].unpublish()

    def add(self, parent: Any, page: Any) -> Any:
        """Add a page, revised and published by one of the editors."""
        parent.add_child(instance=page)
        page.save_revision(user=self.editors[page.pk % len(self.editors)], log_action=True).publish(user=self.staff)
        return page


def make_user(name: str, group: str) -> Any:
    """Return a user of a group."""
    user = get_user_model().objects.create_user(name.lower(), f"{name.lower()}@example.com", "x", first_name=name)
    user.groups.add(Group.objects.get(name=group))
    return user


def collection_of(name: str) -> Collection:
    """Return the collection of this name, made when it is first asked for."""
    found = Collection.objects.filter(name=name).first()
    return found or Collection.get_first_root_node().add_child(name=name)
