"""What this app asks of itself: does the rollup's database take figures, and do the site's databases answer?"""

from __future__ import annotations

from django.db import connections, transaction

from noa_perf.core import conf, health
from noa_perf.core.health import Health
from noa_perf.core.muting import muted
from noa_perf.metrics import prometheus, service
from noa_perf.metrics.conf import settings
from noa_perf.metrics.rollup import RESOLUTIONS, Problem, diagnose


def install() -> None:
    """Register the checks."""
    health.register("metrics.rollup", rollup)
    health.register("metrics.prometheus", exporting)
    health.register("databases", databases, vital=True)


def rollup(deep: bool) -> Health:
    """Ask whether the rollup can be written; a ``deep`` check writes a row and takes it back."""
    if not (conf.enabled("METRICS") and settings().rollup):
        return Health(ok=True, message="The rollup is switched off.")
    running = service.current()
    if not deep and running is not None and running.writer is not None and running.writer.problem is not None:
        return _unwell(running.writer.problem)
    try:
        with muted():
            _write_and_take_back(settings().database) if deep else _look(settings().database)
    except Exception as error:
        return _unwell(diagnose(error, settings().database))
    return Health(ok=True, message=f"The rollup on database {settings().database!r} takes figures.")


def exporting(deep: bool) -> Health:
    """Ask whether figures go to Prometheus, where they are wanted."""
    running = service.current()
    if running is None or running.exporter is None:
        return Health(ok=True, message="Prometheus export is off.")
    many = running.faults.get("prometheus", 0)
    if many:
        cure = "In multiprocess mode let the folder PROMETHEUS_MULTIPROC_DIR exist and be writable; see the log."
        return Health(ok=False, message=f"Prometheus export has failed {many} times.", cure=cure)
    mode = "multiprocess" if prometheus.multiprocess() else "single-process"
    return Health(ok=True, message=f"Prometheus export works, in {mode} mode.")


def databases(deep: bool) -> Health:
    """Ask each of ``READY_DATABASES`` for ``SELECT 1``."""
    silent = [alias for alias in settings().ready_databases if not _answers(alias)]
    if silent:
        names = ", ".join(map(repr, silent))
        cure = f'Start it, or take it out of {settings.path}["READY_DATABASES"].'
        return Health(ok=False, message=f"Database {names} does not answer.", cure=cure)
    return Health(ok=True, message=f"Databases that answer: {', '.join(settings().ready_databases) or 'none asked'}.")


def _answers(alias: str) -> bool:
    if connections[alias].settings_dict["ENGINE"] == "django.db.backends.dummy":
        return True  # a site without a database
    try:
        with muted(), connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except Exception:
        return False
    return True


def _unwell(problem: Problem) -> Health:
    return Health(ok=False, message=problem.message, cure=problem.cure)


def _look(alias: str) -> None:
    from noa_perf.metrics.models import Figure

    Figure._default_manager.using(alias).filter(kind="", resolution=0).exists()


def _write_and_take_back(alias: str) -> None:
    from noa_perf.metrics.models import Figure

    with transaction.atomic(using=alias):
        Figure._default_manager.using(alias).create(kind="", resolution=RESOLUTIONS[0], bucket=0, series="")
        transaction.set_rollback(True, using=alias)
