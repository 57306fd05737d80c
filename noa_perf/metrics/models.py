"""The rollup's three small tables: figures, what they are about, and whose turn it is to tidy up."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class Figure(models.Model):
    """What one process counted of one series in one bucket of time; of all processes once it is thinned."""

    kind = models.CharField(max_length=24)
    resolution = models.PositiveIntegerField(help_text="seconds that the bucket is long")
    bucket = models.BigIntegerField(help_text="seconds since 1970 (UTC) at which the bucket begins")
    series = models.CharField(max_length=16)
    process = models.CharField(max_length=16, blank=True, help_text="empty once processes are added up")
    count = models.BigIntegerField(default=0)
    seconds = models.FloatField(default=0.0)
    histogram = models.JSONField(default=dict, help_text='{"n": how many stayed below 2**n microseconds}')
    extra = models.JSONField(default=dict, help_text="further counts by name")

    class Meta:
        """Which row is which; the constraint's index also serves every read."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["kind", "resolution", "bucket", "series", "process"], name="noa_perf_figure"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.series} at {self.bucket}: {self.count}"


class Series(models.Model):
    """What a series is about (a route, a folded statement, an N+1), and what was found out about it.

    Holds no parameter value.
    """

    kind = models.CharField(max_length=24)
    series = models.CharField(max_length=16)
    labels = models.JSONField(default=list, help_text="values, in the order of the kind's names")
    notes = models.JSONField(null=True, help_text="facts by name, as the process that found them out last noted them")

    class Meta:
        """Which row is which."""

        constraints: ClassVar = [models.UniqueConstraint(fields=["kind", "series"], name="noa_perf_series")]
        verbose_name_plural = "series"

    def __str__(self) -> str:
        return f"{self.kind} {self.series}"


class Chore(models.Model):
    """Work that one process at a time does, and when it is due again."""

    name = models.CharField(max_length=24, primary_key=True)
    due = models.BigIntegerField(default=0, help_text="seconds since 1970 (UTC)")

    def __str__(self) -> str:
        return f"{self.name}, due at {self.due}"
