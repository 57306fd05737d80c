from __future__ import annotations

from django.db import models

from noa_perf.cdn.fields import PictureField


class Photo(models.Model):
    # Before the field that it writes to, on purpose: the order must not matter.
    image = PictureField(upload_to="photos", variants_field="variants", blank=True)
    variants = models.JSONField(null=True, blank=True, editable=False)
    later = PictureField(upload_to="later", variants_field="later_variants", processing="celery", blank=True)
    later_variants = models.JSONField(null=True, blank=True, editable=False)
    plain = models.ImageField(upload_to="plain", blank=True, width_field="plain_width", height_field="plain_height")
    plain_width = models.IntegerField(null=True, editable=False)
    plain_height = models.IntegerField(null=True, editable=False)


class Cover(Photo):
    class Meta:
        proxy = True


class Poster(Photo):
    title = models.CharField(max_length=20, blank=True)


class SmallPoster(Poster):
    width = models.IntegerField(default=10)


class Shown(models.Model):
    image = PictureField(upload_to="shown", variants_field="variants", blank=True)
    variants = models.JSONField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True


class Badge(Shown):
    pass


class Seal(Badge):
    class Meta:
        proxy = True
