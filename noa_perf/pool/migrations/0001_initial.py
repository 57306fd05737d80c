"""Orders for pools."""

from __future__ import annotations

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="PoolOrder",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("alias", models.CharField(max_length=100, verbose_name="pool")),
                (
                    "action",
                    models.CharField(
                        choices=[("drain", "drain"), ("resize", "resize")], max_length=6, verbose_name="action"
                    ),
                ),
                ("value", models.PositiveIntegerField(blank=True, null=True, verbose_name="size")),
                ("who", models.CharField(blank=True, max_length=200, verbose_name="who")),
                ("at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="when")),
            ],
            options={
                "verbose_name": "pool order",
                "verbose_name_plural": "drain and resize",
                "ordering": ["pk"],
                "default_permissions": (),
            },
        ),
    ]
