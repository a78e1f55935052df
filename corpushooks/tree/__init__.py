"""The door to trees of files: make one equal to another by what differs, following no link below its root.

    scan        what is in a tree                            Scan, scan
    snapshot    keep it, sharing what did not change         cost, snapshot, is_whole, place_in, rename
    restore     make it again what it was                    check_place, restore
    sync        bring a checkout into it                     sync
    differences in what it is not what a snapshot has     differences
    fingerprint what is in it, with digests, for another's copy  Fingerprint, take, settle, compare, is_below
    drift       what of a checkout is no longer so in it     drift, content_at, kind_at
    permissions give it its owner and modes                  fix
    acl         access lists                                 Access, grant
    exchange    two of them change places                exchange
    removal     take it away, or aside                       remove, set_aside
    flags       immutable and append-only                    loosen, loosen_all
    mounts      tell them, and leave them                    refuse_mounts

and below these: entries (make one), descriptors (open without following links), report and manifest (values: what was
done, and what a tree looked like).
"""

from corpushooks.tree.acl import GROUP as ACL_GROUP
from corpushooks.tree.acl import USER as ACL_USER
from corpushooks.tree.acl import Access, grant
from corpushooks.tree.descriptors import DEPTH
from corpushooks.tree.differences import differences
from corpushooks.tree.drift import Drift, content_at, drift, kind_at
from corpushooks.tree.exchange import exchange
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

__all__ = [
    "ACL_GROUP", "ACL_USER", "DEPTH", "NOTHING", "Access", "Drift", "Fingerprint", "Owner", "Report", "Scan",
    "check_place", "compare", "content_at", "cost", "differences", "drift", "exchange", "fix", "grant", "is_below",
    "is_whole", "kind_at", "loosen", "loosen_all", "place_in", "refuse_mounts", "remove", "rename", "restore",
    "scan", "set_aside", "settle", "snapshot", "sync", "take",
]  # fmt: skip
