"""The errors of the CDN app; each message names what is wrong and the cure."""

from __future__ import annotations

from noa_perf.core.exceptions import CommandInputError, NoaPerfError


class CdnError(NoaPerfError):
    """Base of the errors of building, publishing, purging and verifying."""


class BuildError(CdnError):
    """Something cannot be built: a file cannot be read, an image is a bomb, a tool that was asked for is missing."""


class BadManifest(CdnError):
    """A manifest cannot be read; the message says where it is and why."""


class TargetError(CdnError):
    """Where releases are published cannot be read or written: denied, missing, throttled for too long, cut off."""


class DeployConflict(CdnError):
    """Another deploy, a rollback or ``cdn_gc`` moved the pointer, or holds it; nothing of this one is live."""


class PlanRefused(CdnError):
    """A plan removes more than the brake allows; the message says how much, and that ``--force`` goes on."""


class UnknownRelease(CommandInputError, CdnError):
    """No release has this id; the message lists those that there are."""


class PurgeError(CdnError):
    """An edge could not be purged; the message names the provider and, of several nodes, which."""


class BadPurge(CommandInputError, CdnError):
    """Nothing was said to be purged, or nothing that any edge would take."""


class BadProvider(CommandInputError, CdnError):
    """An entry of ``NOA_PERF["CDN"]["PROVIDERS"]`` cannot be used, or there is none of that name."""
