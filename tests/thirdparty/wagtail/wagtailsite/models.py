"""A magazine: a home page, a blog, the team, sections of plain pages, and forms."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.http import HttpRequest
from modelcluster.contrib.taggit import ClusterTaggableManager
from modelcluster.fields import ParentalKey, ParentalManyToManyField
from taggit.models import TaggedItemBase
from wagtail.admin.panels import FieldPanel, FieldRowPanel, InlinePanel, MultiFieldPanel
from wagtail.contrib.forms.models import AbstractEmailForm, AbstractFormField
from wagtail.contrib.forms.panels import FormSubmissionsPanel
from wagtail.contrib.settings.models import BaseGenericSetting, register_setting
from wagtail.fields import RichTextField, StreamField
from wagtail.models import DraftStateMixin, Orderable, Page, PreviewableMixin, RevisionMixin
from wagtail.search import index
from wagtail.snippets.models import register_snippet

from wagtailsite.blocks import BodyBlock

IMAGE = "wagtailimages.Image"


@register_snippet
class Author(models.Model):
    """Somebody who writes."""

    name = models.CharField(max_length=255)
    author_image = models.ForeignKey(IMAGE, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")

    panels = ["name", "author_image"]

    def __str__(self) -> str:
        return self.name


@register_snippet
class Category(index.Indexed, models.Model):
    """What a post is about."""

    name = models.CharField(max_length=255)
    slug = models.SlugField()

    panels = ["name", "slug"]
    search_fields = [index.SearchField("name"), index.AutocompleteField("name")]

    class Meta:
        verbose_name_plural = "categories"

    def __str__(self) -> str:
        return self.name


@register_snippet
class FooterText(DraftStateMixin, RevisionMixin, PreviewableMixin, models.Model):
    """The words at the foot of every page."""

    body = RichTextField()

    panels = ["body"]

    class Meta:
        verbose_name_plural = "footer text"

    def __str__(self) -> str:
        return "Footer text"


@register_setting
class NavigationSettings(BaseGenericSetting):
    """Where else the magazine is found."""

    mastodon_url = models.URLField(blank=True)
    github_url = models.URLField(blank=True)

    panels = [MultiFieldPanel(["mastodon_url", "github_url"], "Social settings")]


class HomePage(Page):
    """What a visitor sees first."""

    image = models.ForeignKey(IMAGE, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    body = RichTextField(blank=True)

    content_panels = [*Page.content_panels, "image", "body", InlinePanel("featured", label="Featured pages")]

    def get_context(self, request: HttpRequest, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Add the newest posts."""
        context = super().get_context(request, *args, **kwargs)
        context["newest"] = BlogPage.objects.live().order_by("-date")[:6]
        return context


class HomePageFeatured(Orderable):
    """A page that the home page shows."""

    page = ParentalKey(HomePage, on_delete=models.CASCADE, related_name="featured")
    shown = models.ForeignKey(Page, on_delete=models.CASCADE, related_name="+")

    panels = ["shown"]


class StandardPage(Page):
    """A page of text, perhaps with pages below it."""

    introduction = models.TextField(blank=True)
    image = models.ForeignKey(IMAGE, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    body = StreamField(BodyBlock(), blank=True)

    content_panels = [*Page.content_panels, "introduction", "image", "body"]
    search_fields = [*Page.search_fields, index.SearchField("body")]


class TeamIndexPage(Page):
    """Everybody who works here."""

    intro = RichTextField(blank=True)

    content_panels = [*Page.content_panels, "intro"]
    subpage_types = ["PersonPage"]


class PersonPage(Page):
    """Somebody who works here."""

    job_title = models.CharField(max_length=255)
    image = models.ForeignKey(IMAGE, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    author = models.ForeignKey(Author, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")

    content_panels = [*Page.content_panels, "job_title", "image", "author"]


class BlogIndexPage(Page):
    """All posts, newest first."""

    intro = RichTextField(blank=True)

    content_panels = [*Page.content_panels, "intro"]
    subpage_types = ["BlogPage"]

    def get_context(self, request: HttpRequest, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Include only published posts, ordered by reverse-chron."""
        context = super().get_context(request, *args, **kwargs)
        blogpages = self.get_children().live().order_by("-first_published_at")
        context["blogpages"] = blogpages
        return context


class BlogPageTag(TaggedItemBase):
    """A tag of a post."""

    content_object = ParentalKey("BlogPage", related_name="tagged_items", on_delete=models.CASCADE)


class BlogTagIndexPage(Page):
    """The posts with a tag."""

    def get_context(self, request: HttpRequest, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Filter by tag."""
        tag = request.GET.get("tag")
        context = super().get_context(request, *args, **kwargs)
        context["blogpages"] = BlogPage.objects.filter(tags__name=tag)
        return context


class BlogPage(Page):
    """A post."""

    date = models.DateField("Post date")
    intro = models.CharField(max_length=250)
    body = StreamField(BodyBlock(), blank=True)
    authors = ParentalManyToManyField(Author, blank=True)
    categories = ParentalManyToManyField(Category, blank=True)
    tags = ClusterTaggableManager(through=BlogPageTag, blank=True)

    search_fields = [*Page.search_fields, index.SearchField("intro"), index.SearchField("body")]
    content_panels = [
        *Page.content_panels,
        MultiFieldPanel(["date", "authors", "categories", "tags"], heading="Blog information"),
        "intro",
        "body",
        InlinePanel("gallery_images", label="Gallery images"),
        InlinePanel("related_pages", label="Related pages"),
    ]
    parent_page_types = ["BlogIndexPage"]

    def main_image(self) -> Any:
        """Return the first picture of the gallery."""
        gallery_item = self.gallery_images.first()
        if gallery_item:
            return gallery_item.image
        return None


class BlogPageGalleryImage(Orderable):
    """A picture of a post's gallery."""

    page = ParentalKey(BlogPage, on_delete=models.CASCADE, related_name="gallery_images")
    image = models.ForeignKey(IMAGE, on_delete=models.CASCADE, related_name="+")
    caption = models.CharField(blank=True, max_length=250)

    panels = ["image", "caption"]


class BlogPageRelatedPage(Orderable):
    """Another page that a post points to."""

    page = ParentalKey(BlogPage, on_delete=models.CASCADE, related_name="related_pages")
    related = models.ForeignKey(Page, on_delete=models.CASCADE, related_name="+")

    panels = ["related"]


class FormField(AbstractFormField):
    """A field of a form."""

    page = ParentalKey("FormPage", on_delete=models.CASCADE, related_name="form_fields")


class FormPage(AbstractEmailForm):
    """A form to fill in."""

    intro = RichTextField(blank=True)
    thank_you_text = RichTextField(blank=True)

    content_panels = [
        *AbstractEmailForm.content_panels,
        FormSubmissionsPanel(),
        FieldPanel("intro"),
        InlinePanel("form_fields", label="Form fields"),
        FieldPanel("thank_you_text"),
        MultiFieldPanel([FieldRowPanel(["from_address", "to_address"]), "subject"], "Email"),
    ]
