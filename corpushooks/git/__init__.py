"""The door to git: bare repositories, refs, objects, checkouts.

    access      the program git, and dulwich in our process          version, check_version
    bare        repositories and their configuration                 init_bare, init_work, maintain, bundle, unbundle…
    sharing     repositories that a group pushes to                  share, make_entrance, check_objects
    refs        read them, move them; pins                           ref, move_ref, update_refs, pin, unpin, pins
    commits     look up commits, and compare two                     commit, resolve, content, change, differing
    listings    the content of a commit                              listing, listing_below, folder, links, attributes
    sending     bring a commit to a repository elsewhere             Destination, send
    fetching    fetch a commit from a repository elsewhere           Origin, fetch
    worktrees   a user's working tree: what git would send           worktree
    checkouts   files from commits, and commits from files           commit_files, checkout, ignored, export, refusal

dulwich reads objects and moves the refs of deployments; git, run by the daemon, stores all other refs. git makes the
checkouts, from a git dir that only we can write (work.git), so that no foreign configuration, hook or filter is read.
"""

from corpushooks.git.access import MINIMUM, ROLLOUTS, check_version, version
from corpushooks.git.bare import (
    FORMATS,
    bare_config,
    bundle,
    distrust,
    empty_tree,
    flaw,
    flush_objects,
    init_bare,
    init_work,
    maintain,
    object_format,
    unbundle,
    unbundle_all,
)
from corpushooks.git.checkouts import (
    Since,
    blob_name,
    checkout,
    commit_files,
    export,
    export_files,
    export_part,
    first_commit,
    ignored,
    is_checked_out,
    refusal,
    stop_checkout,
)
from corpushooks.git.commits import (
    Change,
    change,
    check_commit,
    commit,
    content,
    counted,
    differing,
    lost_commits,
    resolve,
)
from corpushooks.git.fetching import Origin, fetch
from corpushooks.git.listings import (
    LINK,
    SUBMODULE,
    Listing,
    attributes,
    folder,
    links,
    listing,
    listing_below,
    object_id,
)
from corpushooks.git.refs import (
    clear_locks,
    forget_rollouts,
    head_branch,
    is_empty,
    is_id,
    move_ref,
    pin,
    pinned,
    pins,
    ref,
    take_back_ref,
    unpin,
    update_refs,
)
from corpushooks.git.sending import Destination, send
from corpushooks.git.sharing import check_objects, make_entrance, share
from corpushooks.git.worktrees import Worktree, worktree

__all__ = [
    "FORMATS", "LINK", "MINIMUM", "ROLLOUTS", "SUBMODULE", "Change", "Destination", "Listing", "Origin", "Since",
    "Worktree", "attributes", "bare_config", "blob_name", "bundle", "change", "check_commit", "check_objects",
    "check_version", "checkout", "clear_locks", "commit", "commit_files", "content", "counted", "differing",
    "distrust", "empty_tree", "export", "export_files", "export_part", "fetch", "first_commit", "flaw",
    "flush_objects", "folder", "forget_rollouts", "head_branch", "ignored", "init_bare", "init_work", "is_checked_out",
    "is_empty", "is_id", "links", "listing", "listing_below", "lost_commits", "maintain", "make_entrance", "move_ref",
    "object_format", "object_id", "pin", "pinned", "pins", "ref", "refusal", "resolve", "send", "share",
    "stop_checkout", "take_back_ref", "unbundle", "unbundle_all", "unpin", "update_refs", "version", "worktree",
]  # fmt: skip
