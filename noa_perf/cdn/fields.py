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
from noa_perf.cdn.exceptions import CdnError
from noa_perf.cdn.manifest import Picture, Variant
from noa_perf.cdn.pipeline import images
from noa_perf.cdn.store import blob_of

logger = logging.getLogger("noa_perf.cdn")

_FRESH = "_noa_perf_fresh"
"""Where an instance carries, within ``save()``, the fields whose files are new."""


class StorageFailed(CdnError):
    """A picture or a variant could not be read or written. That may pass: nothing is noted."""


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
            self._listen(cls)
            models.signals.class_prepared.connect(
                self._prepared, weak=False, dispatch_uid=(cls, name, "noa_perf.prepared")
            )

    def _prepared(self, sender: type[models.Model], **kwargs: Any) -> None:
        # A signal tells the class that was saved, and a proxy or a child is another one.
        if issubclass(sender, self.model):
            self._listen(sender)

    def _listen(self, cls: type[models.Model]) -> None:
        uid = (self.model, self.name, "noa_perf.saved")
        models.signals.post_save.connect(self._saved, sender=cls, weak=False, dispatch_uid=uid)

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """Store the file, as Django does, and remember whether it is a new one."""
        file = getattr(model_instance, self.attname)
        if file and not file._committed:
            model_instance.__dict__.setdefault(_FRESH, set()).add(self.attname)
        return super().pre_save(model_instance, add)

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
        fresh = self.attname in instance.__dict__.get(_FRESH, ())
        instance.__dict__.get(_FRESH, set()).discard(self.attname)
        only = kwargs.get("update_fields")
        if raw or (only is not None and self.name not in only) or not self._changed(instance, fresh):
            return
        using = kwargs.get("using") or router.db_for_write(self.model, instance=instance)
        if not getattr(instance, self.attname):
            self.note(instance, None, using=using)
        elif self.processing == "celery":
            transaction.on_commit(lambda: self._send(instance, using), using=using)
        else:
            self.process(instance, using=using)

    def _changed(self, instance: models.Model, fresh: bool) -> bool:
        """Tell whether the variants are those of another picture; what is not loaded is not asked for."""
        deferred = instance.get_deferred_fields()
        if self.attname in deferred or self.variants_field in deferred:
            return fresh
        file = getattr(instance, self.attname)
        known = getattr(instance, self.variants_field, None)
        return (known or {}).get("of") != (file.name if file else None)

    def _send(self, instance: models.Model, using: str) -> None:
        label = self.model._meta.label
        try:
            # By its name: a worker's task imports this module, and not this module the task.
            task = import_string("noa_perf.cdn.tasks.process_picture")
            task.delay(label, self._key(instance), self.name, using)
        except Exception as error:  # no broker: an upload must not fail for that
            logger.warning("noa_perf.cdn: %s.%s is processed at once; Celery: %s", label, self.name, error)
            self.process(instance, using=using)

    def process(self, instance: models.Model, *, using: str = "") -> None:
        """Make the variants of an instance's picture, and note them; what is no picture is noted as having none.

        Where the storage fails, that is logged, and left for the next ``save()``. ``using`` is the database to write
        to, by default the one that routers say.
        """
        try:
            self.make(instance, using=using)
        except StorageFailed as error:
            logger.warning("noa_perf.cdn: %s Its variants are made when it is saved again.", error)

    def make(self, instance: models.Model, *, using: str = "") -> None:
        """As :meth:`process`, but raise :class:`StorageFailed` where the storage fails."""
        self.note(instance, self._made(instance), using=using)

    def note(self, instance: models.Model, variants: dict[str, Any] | None, *, using: str = "") -> None:
        """Write what was made, unless the row has another picture by now."""
        setattr(instance, self.variants_field, variants)
        name = getattr(instance, self.attname).name
        alias = using or router.db_for_write(self.model, instance=instance)
        rows = self.model._base_manager.using(alias).filter(pk=self._key(instance), **{self.attname: name or ""})
        rows.update(**{self.variants_field: variants})

    def _key(self, instance: models.Model) -> Any:
        # That of the model with the field: a child's own may be another.
        return getattr(instance, self.model._meta.pk.attname)

    def _made(self, instance: models.Model) -> dict[str, Any]:
        file: PictureFieldFile = getattr(instance, self.attname)
        name = file.name or ""
        made = self._processed(_read(file), name) if images.version() else None
        if made is None:
            return {"of": name}
        variants = [
            [_kept(file.storage, _beside(name, each), each.data), images.TYPES[each.format],
             each.width, each.height, len(each.data)]
            for each in made.variants
        ]  # fmt: skip
        return {"of": name, "width": made.width, "height": made.height, "variants": variants}

    def _processed(self, data: bytes, name: str) -> images.Processed | None:
        own = settings()
        try:
            return images.processed(
                data, name, formats=own.image_formats, widths=own.image_widths, max_pixels=own.image_max_pixels
            )
        except Exception as error:  # whatever a decoder raises: the same bytes will raise it again
            logger.warning("noa_perf.cdn: %s of %s stays as it is. %s", name, self.model._meta.label, error)
            return None


def _read(file: PictureFieldFile) -> bytes:
    try:
        with file.storage.open(file.name or "") as opened:
            data: bytes = opened.read()
            return data
    except Exception as error:  # storages have their own errors
        raise StorageFailed(f"{file.name} cannot be read ({type(error).__name__}: {error}).") from error


def _kept(storage: Storage, name: str, data: bytes) -> str:
    """Keep a variant, unless it is there: its name hashes its content."""
    try:
        return name if storage.exists(name) else storage.save(name, ContentFile(data))
    except Exception as error:
        raise StorageFailed(f"{name} cannot be written ({type(error).__name__}: {error}).") from error


def _beside(name: str, made: images.Made) -> str:
    return f"{name}.{made.width}w.{blob_of(made.data).sha256[:12]}.{made.format}"
