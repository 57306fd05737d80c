"""The dashboard's permissions; no table."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """Tell Django of the model, so that its permissions are made."""

    initial = True

    dependencies: ClassVar = []

    operations: ClassVar = [
        migrations.CreateModel(
            name="Dashboard",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ],
            options={
                "verbose_name": "dashboard",
                "verbose_name_plural": "dashboard",
                "permissions": [
                    ("view_dashboard", "Can see the performance dashboard"),
                    ("operate_dashboard", "Can operate what the performance dashboard shows"),
                ],
                "managed": False,
                "default_permissions": (),
            },
        ),
    ]
