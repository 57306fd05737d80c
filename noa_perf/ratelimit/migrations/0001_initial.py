"""Lists and bans."""

from __future__ import annotations

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import noa_perf.ratelimit.models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Ban",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("client", models.CharField(max_length=210, verbose_name="client")),
                ("rule", models.CharField(default="manual", editable=False, max_length=64, verbose_name="rule")),
                ("tier", models.PositiveSmallIntegerField(default=1, editable=False, verbose_name="tier")),
                ("reason", models.CharField(blank=True, max_length=200, verbose_name="reason")),
                (
                    "begun",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="begun"),
                ),
                ("until", models.DateTimeField(verbose_name="until")),
                ("released", models.DateTimeField(blank=True, editable=False, null=True, verbose_name="released")),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "released_by",
                    models.ForeignKey(
                        blank=True,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "ban",
                "verbose_name_plural": "bans",
                "indexes": [
                    models.Index(fields=["until"], name="noa_perf_ban_until"),
                    models.Index(fields=["client"], name="noa_perf_ban_client"),
                ],
            },
        ),
        migrations.CreateModel(
            name="ListEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "list",
                    models.CharField(choices=[("allow", "allow"), ("deny", "deny")], max_length=5, verbose_name="list"),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("network", "network"), ("user", "user"), ("key", "API key")],
                        default="network",
                        max_length=7,
                        verbose_name="kind",
                    ),
                ),
                (
                    "value",
                    models.CharField(
                        help_text="A network (203.0.113.0/24), a user's primary key, or a key's hash.",
                        max_length=200,
                        verbose_name="value",
                    ),
                ),
                ("reason", models.CharField(max_length=200, verbose_name="reason")),
                (
                    "created",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="created"),
                ),
                (
                    "expires",
                    models.DateTimeField(blank=True, help_text="Empty: never.", null=True, verbose_name="expires"),
                ),
                ("revision", models.PositiveIntegerField(default=noa_perf.ratelimit.models.draw, editable=False)),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "list entry",
                "verbose_name_plural": "allow and deny entries",
                "constraints": [models.UniqueConstraint(fields=("list", "kind", "value"), name="noa_perf_list_entry")],
            },
        ),
    ]
