"""WhiteNoise over releases: it serves those too that went live since the process was started."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from noa_perf.cdn.headers import for_whitenoise

try:
    from whitenoise.middleware import WhiteNoiseMiddleware
except ImportError as error:
    raise ImportError("ReleaseWhiteNoiseMiddleware needs WhiteNoise: pip install noa-perf[whitenoise].") from error

HASHED = re.compile(r"\.[0-9a-f]{12}(\.[^./]+)?$")
"""How names end under which content never changes."""


class ReleaseWhiteNoiseMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]
    """WhiteNoise lists the files once, when the process starts; pages link to a new release within seconds.

    So a name with a hash that is not on the list is looked for in ``STATIC_ROOT``, once. Names with a hash are
    immutable, of earlier releases too, and SVGs are served so that they may do nothing.
    """

    def __call__(self, request: Any) -> Any:
        """Answer with the file, or let the site answer."""
        url = request.path_info
        if not self.autorefresh and url not in self.files and url.startswith(self.static_prefix) and HASHED.search(url):
            self._learn(url)
        return super().__call__(request)

    def immutable_file_test(self, path: str, url: str) -> bool:
        """Tell whether what is served at ``url`` never changes."""
        return url.startswith(self.static_prefix) and HASHED.search(url) is not None

    def add_cache_headers(self, headers: Any, path: str, url: str) -> None:
        """Add what the file's kind needs, too."""
        super().add_cache_headers(headers, path, url)
        for_whitenoise(headers, path, url)

    def _learn(self, url: str) -> None:
        if not self.static_root:
            return
        root = Path(self.static_root).resolve()
        path = (root / url[len(self.static_prefix) :]).resolve()
        if path.is_relative_to(root) and path.is_file():
            self.add_file_to_dictionary(url, str(path))
