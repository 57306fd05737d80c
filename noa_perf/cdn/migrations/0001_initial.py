"""The permissions of releases."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Release",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ],
            options={
                "verbose_name": "release",
                "verbose_name_plural": "releases",
                "permissions": [("roll_back_release", "Can make an earlier release live")],
                "managed": False,
                "default_permissions": ("view",),
            },
        ),
    ]
