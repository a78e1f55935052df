"""One call of an operation: the request, the caller, the projects, and where it is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from corpushooks.access.principal import Principal
from corpushooks.core import hints
from corpushooks.core.deployment import Deployment, ProjectRow, Request
from corpushooks.core.errors import RefusedError, UsageError
from corpushooks.core.hints import Advice
from corpushooks.protocol.connection import Connection, Semaphores
from corpushooks.store.fleet import Obedience
from corpushooks.system.patience import Check, endless

if TYPE_CHECKING:  # who only asks for a report loads none of it
    from corpushooks.deploy.lanes import Lanes
    from corpushooks.deploy.watches import Watches
    from corpushooks.host.site import Site
    from corpushooks.operations.setting import Turns
    from corpushooks.operations.signing import Gate

Asked = TypeVar("Asked", covariant=True)


@dataclass(frozen=True, kw_only=True)
class Call(Generic[Asked]):
    """A call. The caller's right has been checked."""

    site: Site
    principal: Principal
    asked: Asked
    rows: Sequence[ProjectRow] = ()  # the projects it concerns
    here: bool = False  # it runs in the caller's process, with the caller's access
    check: Check = endless  # raises when the caller is gone

    @property
    def row(self) -> ProjectRow:
        (row,) = self.rows
        return row

    def spell(self, advice: Advice) -> str:
        """Return advice with commands spelled for the caller."""
        return self.site.spell(advice, ssh=bool(self.principal.ssh_key))


@dataclass(frozen=True)
class Work:
    """Shared by all connections."""

    lanes: Lanes
    watches: Watches
    semaphores: Semaphores
    turns: Turns
    gate: Gate


@dataclass(frozen=True, kw_only=True)
class Conversation(Call[Asked]):
    """A call over a connection that gets messages before its result."""

    connection: Connection
    work: Work
    still: Callable[[], object]  # raises if the caller has lost the right

    def check_frozen(self, request: Request) -> None:
        """Refuse a change to a frozen project, unless the request insists."""
        frozen = self.site.history.frozen(self.row.name) if request.sort.changes else None
        if frozen and not request.insist:
            raise RefusedError(
                str(frozen), hint=hints.Hint("wait for: ", hints.command("thaw", frozen.project or "--all"))
            )

    def check_own(self, request: Request) -> None:
        """Refuse another release, or another edit, of a project that a controller deploys."""
        if request.sort.releases or request.sort.edits:
            Obedience(self.site.history).check_free(self.row.name)

    def enqueue(self, name: str, request: Request) -> Deployment:
        """Register a request, once, and wake its lane."""
        deployment = self.site.history.enqueue(name, request)
        if not deployment.request.is_again(request):
            raise UsageError("this token belongs to another request")
        self.work.lanes.wake(name)
        return deployment
