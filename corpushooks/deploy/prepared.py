"""The step in which a node waits for its controller: all is checked and archived, and nothing is touched.

The order to switch is in the store, where the controller's next call finds what became of it. A controller that is
silent for longer than the lease is not waited for: other nodes may be gone, and people may want to deploy.
"""

from __future__ import annotations

import time

from corpushooks.core.errors import RefusedError
from corpushooks.core.events import NOTHING, Detail
from corpushooks.core.rollouts import REVOKE, REVOKED, SWITCH
from corpushooks.deploy.progress import Mark
from corpushooks.deploy.run import Run
from corpushooks.store.fleet import Obedience

LOOK = 0.5  # seconds between looks at the store, if nothing wakes us


def wait(run: Run, mark: Mark) -> Detail:
    """Wait for the order to switch; raise RefusedError if the rollout ends before."""
    with run.apart():
        _await_order(run)
    return NOTHING


def _await_order(run: Run) -> None:
    asked, obedience = run.request, Obedience(run.site.history)
    while (wish := obedience.wish(run.project.name, asked.epoch, asked.rollout)) != SWITCH:
        run.deadline.check()
        silent = time.monotonic() - run.heard
        if wish == REVOKE:
            raise RefusedError(f"{REVOKED}; nothing was changed")
        if run.site.stopping:
            raise RefusedError("the daemon is stopping; nothing was changed")
        if silent > asked.lease:
            raise RefusedError(f"the controller was silent for {asked.lease:g} s; nothing was changed")
        run.answered.wait(min(LOOK, max(0.01, asked.lease - silent)))
        run.answered.clear()
