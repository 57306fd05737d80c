"""``PictureField``: an ``ImageField`` whose uploads get variants, kept beside them and known without a query."""

from __future__ import annotations

import logging
from typing import Any, Literal

from django.core import checks
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.core.files.base import ContentFile
from django.core.files.storage import Storage
from django.db import models, router, transaction
from django.db.models.fields.files import ImageFieldFile
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from noa_perf.cdn.conf import settings
from noa_perf.cdn.exceptions import BuildError
from noa_perf.cdn.manifest import Picture, Variant
from noa_perf.cdn.pipeline import images
from noa_perf.cdn.store import blob_of

logger = logging.getLogger("noa_perf.cdn")


class PictureFieldFile(ImageFieldFile):
    """The file of a :class:`PictureField`."""

    field: PictureField

    def picture(self) -> Picture | None:
        """Return its size and variants; None while they are not made yet, or cannot be."""
        known = getattr(self.instance, self.field.variants_field, None)
        if not isinstance(known, dict) or known.get("of") != self.name or "width" not in known:
            return None
        return Picture(known["width"], known["height"], tuple(Variant(*each) for each in known["variants"]))


class PictureField(models.ImageField):
    """An image with variants in newer formats and several widths.

    ``variants_field`` names a ``JSONField(null=True, editable=False)`` of the same model, as ``width_field`` does: what
    was made is written there. ``processing`` is ``"inline"``, within the call of ``save()``, or ``"celery"``, in a
    worker, once the transaction is committed; until then the picture is shown as it was uploaded.
    """

    attr_class = PictureFieldFile

    def __init__(
        self, *args: Any, variants_field: str = "", processing: Literal["inline", "celery"] = "inline", **kwargs: Any
    ) -> None:
        """Take what ``ImageField`` takes, and where and when variants are kept and made."""
        self.variants_field = variants_field
        self.processing = processing
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        """Return how migrations make it: as a plain image, for nothing else of it is about the database."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.ImageField", args, kwargs

    # Django's own fields take further keywords, whatever the stubs say of their base.
    def contribute_to_class(  # type: ignore[override]
        self, cls: type[models.Model], name: str, **kwargs: Any
    ) -> None:
        """Process what is uploaded whenever an instance was saved."""
        super().contribute_to_class(cls, name, **kwargs)
        if not cls._meta.abstract:
            models.signals.post_save.connect(self._saved, sender=cls, weak=False, dispatch_uid=(cls, name, "noa_perf"))

    def check(self, **kwargs: Any) -> list[Any]:
        """Add that ``variants_field`` has to name a ``JSONField`` that may be empty."""
        return [*super().check(**kwargs), *self._check_variants_field()]

    def validate(self, value: Any, model_instance: models.Model | None) -> None:
        """Refuse what would unpack to more pixels than ``IMAGE_MAX_PIXELS``; its header alone is read."""
        super().validate(value, model_instance)
        most = settings().image_max_pixels
        width, height = getattr(value, "width", None), getattr(value, "height", None)
        if width and height and width * height > most:
            text = _("This picture has %(pixels)s pixels; at most %(most)s are taken. Make it smaller.")
            raise ValidationError(text, params={"pixels": f"{width * height:,}", "most": f"{most:,}"})

    def _check_variants_field(self) -> list[checks.CheckMessage]:
        try:
            found = self.model._meta.get_field(self.variants_field)
            fits = isinstance(found, models.JSONField) and found.null
        except FieldDoesNotExist:
            fits = False
        if fits:
            return []
        hint = f"Add {self.variants_field or 'variants'} = models.JSONField(null=True, blank=True, editable=False)."
        message = f"variants_field is {self.variants_field!r}, and no JSONField of the model that may be NULL."
        return [checks.Error(message, hint=hint, obj=self, id="noa_perf_cdn.E010")]

    def _saved(self, sender: type[models.Model], instance: models.Model, raw: bool = False, **kwargs: Any) -> None:
        file: PictureFieldFile = getattr(instance, self.attname)
        known = getattr(instance, self.variants_field, None)
        if raw or (known or {}).get("of") == (file.name if file else None):
            return
        if not file:
            self.note(instance, None)
        elif self.processing == "celery":
            using = kwargs.get("using") or router.db_for_write(sender)
            transaction.on_commit(lambda: self._send(instance), using=using)
        else:
            self.process(instance)

    def _send(self, instance: models.Model) -> None:
        label = instance._meta.label
        try:
            # By its name: a worker's task imports this module, and not this module the task.
            import_string("noa_perf.cdn.tasks.process_picture").delay(label, instance.pk, self.name)
        except Exception as error:  # no broker: an upload must not fail for that
            logger.warning("noa_perf.cdn: %s.%s is processed at once; Celery: %s", label, self.name, error)
            self.process(instance)

    def process(self, instance: models.Model) -> None:
        """Make the variants of an instance's picture, and note them; what cannot be read is noted as having none."""
        file: PictureFieldFile = getattr(instance, self.attname)
        try:
            self.note(instance, self._made(file))
        except (BuildError, OSError) as error:
            logger.warning("noa_perf.cdn: %s of %s stays as it is. %s", file.name, instance._meta.label, error)
            self.note(instance, {"of": file.name})

    def note(self, instance: models.Model, variants: dict[str, Any] | None) -> None:
        """Write what was made, unless the row has another picture by now."""
        setattr(instance, self.variants_field, variants)
        name = getattr(instance, self.attname).name
        rows = type(instance)._base_manager.filter(pk=instance.pk, **{self.attname: name or ""})
        rows.update(**{self.variants_field: variants})

    def _made(self, file: PictureFieldFile) -> dict[str, Any]:
        own = settings()
        if not images.version():
            return {"of": file.name}
        name = file.name or ""
        with file.storage.open(name) as opened:
            data = opened.read()
        made = images.processed(
            data, name, formats=own.image_formats, widths=own.image_widths, max_pixels=own.image_max_pixels
        )
        if made is None:
            return {"of": file.name}
        variants = [
            [_saved(file.storage, _beside(name, each), each.data), images.TYPES[each.format],
             each.width, each.height, len(each.data)]
            for each in made.variants
        ]  # fmt: skip
        return {"of": file.name, "width": made.width, "height": made.height, "variants": variants}


def _saved(storage: Storage, name: str, data: bytes) -> str:
    """Keep a variant, unless it is there: its name hashes its content."""
    return name if storage.exists(name) else storage.save(name, ContentFile(data))


def _beside(name: str, made: images.Made) -> str:
    return f"{name}.{made.width}w.{blob_of(made.data).sha256[:12]}.{made.format}"
