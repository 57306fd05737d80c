"""Fill the shop with generated data."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from noa_perf.core.commands import progress
from testproject.shop.models import Category
from testproject.shop.seed import Shop, save


class Command(BaseCommand):
    """``shop_seed --scale N [--seed S]``: scale 1 is 2,000 products, 20,000 orders and 60,000 reviews."""

    help = __doc__
    captured = False  # noa_perf opens no scope over it: seeding is no fault

    def add_arguments(self, parser: CommandParser) -> None:
        """Add scale and seed."""
        parser.add_argument("--scale", type=float, default=1.0, help="how much data (default: 1)")
        parser.add_argument("--seed", type=int, default=1, help="which data (default: 1)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Fill an empty shop; refuse one that has data."""
        if options["scale"] <= 0:
            raise CommandError("--scale must be above 0, such as 1 or 0.1.", returncode=2)
        if Category.objects.exists():
            raise CommandError("The shop has data already: run `manage.py flush` first.", returncode=2)
        shop = Shop(options["scale"], options["seed"])
        save(progress(shop.rows(), total=len(shop), label="Seeding the shop"))
