"""The rollup's three tables."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Chore",
            fields=[
                ("name", models.CharField(max_length=24, primary_key=True, serialize=False)),
                ("due", models.BigIntegerField(default=0, help_text="seconds since 1970 (UTC)")),
            ],
        ),
        migrations.CreateModel(
            name="Figure",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=24)),
                ("resolution", models.PositiveIntegerField(help_text="seconds that the bucket is long")),
                ("bucket", models.BigIntegerField(help_text="seconds since 1970 (UTC) at which the bucket begins")),
                ("series", models.CharField(max_length=16)),
                ("process", models.CharField(blank=True, help_text="empty once processes are added up", max_length=16)),
                ("count", models.BigIntegerField(default=0)),
                ("seconds", models.FloatField(default=0.0)),
                (
                    "histogram",
                    models.JSONField(default=dict, help_text='{"n": how many stayed below 2**n microseconds}'),
                ),
                ("extra", models.JSONField(default=dict, help_text="further counts by name")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("kind", "resolution", "bucket", "series", "process"), name="noa_perf_figure"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Series",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=24)),
                ("series", models.CharField(max_length=16)),
                ("labels", models.JSONField(default=list, help_text="values, in the order of the kind's names")),
            ],
            options={
                "verbose_name_plural": "series",
                "constraints": [models.UniqueConstraint(fields=("kind", "series"), name="noa_perf_series")],
            },
        ),
    ]
