"""What was found out about a series is kept with it."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("noa_perf_metrics", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="series",
            name="notes",
            field=models.JSONField(
                help_text="facts by name, as the process that found them out last noted them", null=True
            ),
        ),
    ]
