"""Every kind of relation that Django has, in one small library."""

from __future__ import annotations

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models


class Publisher(models.Model):
    name = models.CharField(max_length=100)


class Author(models.Model):
    name = models.CharField(max_length=100)


class Profile(models.Model):
    author = models.OneToOneField(Author, on_delete=models.CASCADE, related_name="profile")
    bio = models.TextField()


class Tag(models.Model):
    name = models.CharField(max_length=50, unique=True)


class Note(models.Model):
    content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE)
    object_id = models.PositiveIntegerField()
    content_object = GenericForeignKey()
    text = models.CharField(max_length=100)


class Book(models.Model):
    title = models.CharField(max_length=100)
    author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="books")
    publisher = models.ForeignKey(Publisher, on_delete=models.CASCADE, null=True)
    price = models.DecimalField(max_digits=6, decimal_places=2, default=0)
    pages = models.IntegerField(default=0)
    blurb = models.TextField(default="")
    tags = models.ManyToManyField(Tag, related_name="books")
    notes = GenericRelation(Note)


class Review(models.Model):
    book = models.ForeignKey(Book, on_delete=models.CASCADE, related_name="reviews")
    rating = models.IntegerField()
    text = models.TextField(default="")


class Loan(models.Model):
    """Reached by the accessor that Django makes up, whose name no lookup knows."""

    book = models.ForeignKey(Book, on_delete=models.CASCADE)
    days = models.IntegerField(default=0)
    publisher = models.ForeignKey(Publisher, on_delete=models.SET_NULL, null=True)


class Shelf(models.Model):
    name = models.CharField(max_length=50)
    parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True, related_name="children")


class Errand(models.Model):
    """A model whose field, truth and length would betray whoever asks for them."""

    instance = models.ForeignKey(Publisher, on_delete=models.CASCADE)
    note = models.TextField(default="")

    def __len__(self) -> int:
        return Publisher.objects.count()


class ItemQuerySet(models.QuerySet["Item"]):
    def whole(self) -> ItemQuerySet:
        """Stand for a method that fetches each item as what it is."""
        return self


class Item(models.Model):
    name = models.CharField(max_length=50)

    objects = ItemQuerySet.as_manager()


class Atlas(Item):
    scale = models.IntegerField(default=0)


class Friend(models.Model):
    name = models.CharField(max_length=50)
    follows = models.ManyToManyField("self", symmetrical=False, related_name="followers")


class Order(models.Model):
    """A table in a schema of its own, as sites name one that cannot be named otherwise."""

    customer = models.IntegerField()
    total = models.IntegerField()

    class Meta:
        managed = False
        db_table = 'sales"."order'
