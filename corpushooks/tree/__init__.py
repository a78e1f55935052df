"""The door to trees of files: make one equal to another by their differences, without following links.

    scan        list the content of a tree                   Scan, scan
    snapshot    copy a tree, sharing unchanged files         cost, snapshot, is_whole, place_in, rename
    restore     restore a snapshot                           check_place, restore
    sync        sync a checkout to a tree                    sync
    differences compare a tree with a snapshot               differences
    fingerprint content and digests, to check a copy         Fingerprint, take, settle, compare, is_below
    drift       compare a tree with its checkout             drift, content_at, kind_at
    permissions set owner and modes                          fix
    acl         access control lists                         Access, grant
    exchange    swap two trees atomically, or put one        exchange, put
    removal     remove a tree, or move it aside              remove, set_aside
    weight      how much a tree takes on the disk            weigh
    flags       immutable and append-only                    loosen, loosen_all
    mounts      detect mounts, and leave them alone          refuse_mounts

and below these: entries (make one), descriptors (open without following links), report and manifest (values: the result
of work, and the state of a tree).
"""

from corpushooks.tree.acl import GROUP as ACL_GROUP
from corpushooks.tree.acl import USER as ACL_USER
from corpushooks.tree.acl import Access, grant
from corpushooks.tree.descriptors import DEPTH
from corpushooks.tree.differences import differences
from corpushooks.tree.drift import Drift, content_at, drift, kind_at
from corpushooks.tree.exchange import exchange, put
from corpushooks.tree.fingerprint import NOTHING, Fingerprint, Owner, compare, is_below, settle, take
from corpushooks.tree.flags import loosen, loosen_all
from corpushooks.tree.mounts import refuse_mounts
from corpushooks.tree.permissions import fix
from corpushooks.tree.removal import remove, set_aside
from corpushooks.tree.report import Report
from corpushooks.tree.restore import check_place, restore
from corpushooks.tree.scan import Scan, scan
from corpushooks.tree.snapshot import cost, is_whole, place_in, rename, snapshot
from corpushooks.tree.sync import sync
from corpushooks.tree.weight import weigh

__all__ = [
    "ACL_GROUP", "ACL_USER", "DEPTH", "NOTHING", "Access", "Drift", "Fingerprint", "Owner", "Report", "Scan",
    "check_place", "compare", "content_at", "cost", "differences", "drift", "exchange", "fix", "grant", "is_below",
    "is_whole", "kind_at", "loosen", "loosen_all", "place_in", "put", "refuse_mounts", "remove", "rename", "restore",
    "scan", "set_aside", "settle", "snapshot", "sync", "take", "weigh",
]  # fmt: skip
