"""Named weights: a local cache, filled from pinned package archives, a hub or a file by hand."""

from typing import TYPE_CHECKING

from nrpurify.core.lazy import lazy_exports

if TYPE_CHECKING:
    from nrpurify.core.hashing import cache_dir, content_hashes, file_hash
    from nrpurify.core.preprocessing import Preprocessing
    from nrpurify.weights.state import state_digest
    from nrpurify.weights.store import cached, fetch, load, path, verify, weights_hash
    from nrpurify.weights.table import PackageSource, Weight, get, names

__all__ = [
    "PackageSource",
    "Preprocessing",
    "Weight",
    "cache_dir",
    "cached",
    "content_hashes",
    "fetch",
    "file_hash",
    "get",
    "load",
    "names",
    "path",
    "state_digest",
    "verify",
    "weights_hash",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "nrpurify.core.hashing": ("cache_dir", "content_hashes", "file_hash"),
        "nrpurify.core.preprocessing": ("Preprocessing",),
        "nrpurify.weights.state": ("state_digest",),
        "nrpurify.weights.store": ("cached", "fetch", "load", "path", "verify", "weights_hash"),
        "nrpurify.weights.table": ("PackageSource", "Weight", "get", "names"),
    },
)
