"""The blocks that pages are made of."""

from __future__ import annotations

from wagtail.blocks import CharBlock, ListBlock, PageChooserBlock, RichTextBlock, StreamBlock, StructBlock, TextBlock
from wagtail.documents.blocks import DocumentChooserBlock
from wagtail.images.blocks import ImageChooserBlock
from wagtail.snippets.blocks import SnippetChooserBlock


class CaptionedImageBlock(StructBlock):
    """A picture with a caption."""

    image = ImageChooserBlock()
    caption = CharBlock(required=False)

    class Meta:
        icon = "image"
        template = "wagtailsite/blocks/captioned_image_block.html"


class LinkBlock(StructBlock):
    """A link to a page of this site."""

    page = PageChooserBlock()
    text = CharBlock(required=False)

    class Meta:
        icon = "link"


class QuoteBlock(StructBlock):
    """What somebody said."""

    text = TextBlock()
    author = SnippetChooserBlock("wagtailsite.Author")

    class Meta:
        icon = "openquote"
        template = "wagtailsite/blocks/quote_block.html"


class BodyBlock(StreamBlock):
    """The body of a page."""

    heading = CharBlock(form_classname="title", template="wagtailsite/blocks/heading_block.html")
    paragraph = RichTextBlock()
    image = CaptionedImageBlock()
    links = ListBlock(LinkBlock(), icon="list-ul", template="wagtailsite/blocks/links_block.html")
    quote = QuoteBlock()
    document = DocumentChooserBlock(template="wagtailsite/blocks/document_block.html")
