"""The releases of a target: their manifests, and the pointer to the one that is live."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from noa_perf.cdn.exceptions import BadManifest, DeployConflict, UnknownRelease
from noa_perf.cdn.manifest import Manifest
from noa_perf.cdn.targets.base import Moved, Stored, Target
from noa_perf.core.clock import SYSTEM, Clock

FOLDER = ".releases/"
POINTER = FOLDER + "live.json"
DROPPED = FOLDER + "dropped/"
"""Manifests of releases whose files are being deleted."""

LEASE = 3_600.0
"""Seconds for which ``cdn_gc`` may keep others from publishing; one that was killed does no longer."""

REMEMBERED = 50
"""Releases that the pointer remembers to have been live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """What is live, and since when; what was before."""

    live: str = ""
    """The release's id; empty where none is."""
    history: tuple[tuple[str, float], ...] = ()
    """What was live and since when (seconds since 1970), the latest first; the first is what is live."""
    held_until: float = 0.0
    """Until when ``cdn_gc`` keeps others from publishing; 0: it does not run."""
    serial: int = 0
    """Raised by each move: the states of two moves are never equal, even where one takes back the other."""
    token: str = ""
    """The state that a move replaces; empty where there is no pointer yet."""

    def to_json(self) -> bytes:
        """Return it as a file."""
        document = {
            "version": 1, "serial": self.serial, "live": self.live, "history": self.history,
            "held_until": self.held_until,
        }  # fmt: skip
        return json.dumps(document, separators=(",", ":")).encode()

    def since(self, release: str) -> float:
        """Return when a release went live the last time; 0 if it was not."""
        return next((when for name, when in self.history if name == release), 0.0)

    def until(self, release: str) -> float:
        """Return until when a release was live the last time: infinity if it is, 0 if it never was."""
        if release == self.live:
            return float("inf")
        at = next((place for place, (name, _) in enumerate(self.history) if name == release), None)
        return self.history[at - 1][1] if at else 0.0


class Releases:
    """Reads and moves. Two who move at once: one wins, the other gets
    :class:`~noa_perf.cdn.exceptions.DeployConflict`."""

    def __init__(self, target: Target, clock: Clock = SYSTEM) -> None:
        """Look at ``target``."""
        self.target = target
        self._clock = clock

    def pointer(self) -> Pointer:
        """Return what is live; raise :class:`~noa_perf.cdn.exceptions.BadManifest` where the file is no pointer."""
        known = self.target.read(POINTER)
        if known is None:
            return Pointer()
        data, token = known
        try:
            document = json.loads(data)
            history = tuple((str(name), float(when)) for name, when in document["history"])
            if not isinstance(document["live"], str):
                raise TypeError("live is no text")
            return Pointer(
                live=document["live"], history=history, held_until=float(document["held_until"]),
                serial=int(document["serial"]), token=token,
            )  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            where = f"{self.target.where}/{POINTER}"
            raise BadManifest(f"{where} is no pointer ({error}): delete it, and run cdn_deploy.") from error

    def manifest(self, release: str) -> Manifest:
        """Return a release's manifest; raise :class:`~noa_perf.cdn.exceptions.UnknownRelease` if there is none."""
        known = self.target.read(_file(release))
        if known is None:
            ids = ", ".join(sorted(_ids(self.target.listing()))) or "none"
            raise UnknownRelease(f"There is no release {release!r} in {self.target.where}; there are: {ids}.")
        return Manifest.from_json(known[0], f"{self.target.where}/{_file(release)}")

    def announce(self, manifest: Manifest) -> None:
        """Write a manifest, before its files: so whatever a deploy that was killed has left is known by name."""
        data = manifest.to_json().encode()
        known = self.target.read(_file(manifest.id))
        if known is None or known[0] != data:
            self.target.write(_file(manifest.id), data)

    def move(self, pointer: Pointer, release: str) -> Pointer:
        """Make ``release`` live, if nobody moved the pointer since it was read."""
        self.refuse_held(pointer)
        history = ((release, self._clock.time()), *pointer.history)[:REMEMBERED]
        return self._replace(replace(pointer, live=release, history=history, held_until=0.0))

    def hold(self, pointer: Pointer) -> Pointer:
        """Keep others from publishing for :data:`LEASE` seconds: whoever began before finds the pointer moved."""
        self.refuse_held(pointer)
        return self._replace(replace(pointer, held_until=self._clock.time() + LEASE))

    def taken_over(self, pointer: Pointer) -> Pointer:
        """Return a pointer that nobody holds: where ``cdn_gc`` holds it still, raise; where its time is over, move it.

        Whoever held it, and only went to sleep or has another clock, finds it moved before he deletes anything more.
        """
        self.refuse_held(pointer)
        return self.let_go(pointer) if pointer.held_until else pointer

    def refuse_moved(self, pointer: Pointer) -> None:
        """Raise :class:`~noa_perf.cdn.exceptions.DeployConflict` where somebody has moved the pointer since."""
        if self.pointer().serial != pointer.serial:
            raise DeployConflict(f"Somebody else has taken over {self.target.where}: this stopped where it was.")

    def let_go(self, pointer: Pointer) -> Pointer:
        """Let others publish again."""
        return self._replace(replace(pointer, held_until=0.0))

    def refuse_held(self, pointer: Pointer) -> None:
        """Raise :class:`~noa_perf.cdn.exceptions.DeployConflict` while ``cdn_gc`` runs."""
        left = pointer.held_until - self._clock.time()
        if left > 0:
            raise DeployConflict(
                f"cdn_gc runs on {self.target.where}. Wait for its end; if it was killed, it holds for {left:.0f} s "
                "more."
            )

    def now(self) -> float:
        """Return seconds since 1970."""
        return self._clock.time()

    def _replace(self, pointer: Pointer) -> Pointer:
        moved = replace(pointer, serial=pointer.serial + 1)
        try:
            self.target.replace(POINTER, moved.to_json(), pointer.token)
        except Moved as error:
            now = self.pointer()
            if now.to_json() == moved.to_json():
                return now  # it was done, the answer was lost, and the driver asked again
            raise DeployConflict(
                f"Somebody else has published to {self.target.where}, rolled back or cleaned up since this began; "
                "nothing of this is live. Look at cdn_releases, and run it again."
            ) from error
        return self.pointer()


def known(listing: Mapping[str, Stored]) -> dict[str, float]:
    """Return the releases of a listing, and when each was announced (seconds since 1970)."""
    return {release: listing[_file(release)].modified for release in _ids(listing)}


def _file(release: str) -> str:
    if not release or not release.isalnum():
        raise UnknownRelease(f"{release!r} is no release's id: 16 hexadecimal digits, as cdn_releases lists them.")
    return f"{FOLDER}{release}.json"


def _ids(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        inner = name.removeprefix(FOLDER)
        if name.startswith(FOLDER) and name != POINTER and "/" not in inner and inner.endswith(".json"):
            yield inner.removesuffix(".json")
