"""The errors of the pool; those about connections are Django's OperationalError too, for sites that handle that."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.db.utils import OperationalError

from noa_perf.core.exceptions import NoaPerfError


class PoolError(NoaPerfError):
    """Base of the pool's errors."""


class BadPoolOptions(PoolError, ImproperlyConfigured):
    """``OPTIONS["noa_pool"]`` cannot be used; the message names the alias, the option and the cure."""


class PoolTimeout(PoolError, OperationalError):
    """No connection was to be had within the pool's timeout; the message says who holds them."""


class PoolFull(PoolError, OperationalError):
    """As many wait for a connection as may, so that one more is turned away at once."""


class PoolClosed(PoolError, OperationalError):
    """The pool was closed, and gives out nothing any more."""


class UnknownPool(PoolError, LookupError):
    """No pool has this name; the message lists those that there are."""
