"""One operation that is asked for: what is asked, by whom, of which projects, and where it is answered."""

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
from corpushooks.system.patience import Check, endless

if TYPE_CHECKING:  # who only asks for a report loads none of it
    from corpushooks.deploy.lanes import Lanes
    from corpushooks.deploy.watches import Watches
    from corpushooks.host.site import Site
    from corpushooks.operations.setting import Turns

Asked = TypeVar("Asked", covariant=True)


@dataclass(frozen=True, kw_only=True)
class Call(Generic[Asked]):
    """What somebody asks for. Whether they may has been judged."""

    site: Site
    principal: Principal
    asked: Asked
    rows: Sequence[ProjectRow] = ()  # the projects that it is about
    here: bool = False  # it is asked in the process of the caller: what that can read is theirs
    check: Check = endless  # raises where nobody waits for it any more

    @property
    def row(self) -> ProjectRow:
        (row,) = self.rows
        return row

    def spell(self, advice: Advice) -> str:
        """Return advice as the caller types it."""
        return self.site.spell(advice, ssh=bool(self.principal.ssh_key))


@dataclass(frozen=True)
class Work:
    """What all connections share."""

    lanes: Lanes
    watches: Watches
    semaphores: Semaphores
    turns: Turns


@dataclass(frozen=True, kw_only=True)
class Conversation(Call[Asked]):
    """What somebody asks for over a connection, on which more is said than a result."""

    connection: Connection
    work: Work
    still: Callable[[], object]  # raises where the caller no longer may

    def check_frozen(self, request: Request) -> None:
        """Refuse what would change a project that is frozen; whoever may do everything can insist."""
        frozen = self.site.history.frozen(self.row.name) if request.sort.changes else None
        if frozen and not request.insist:
            raise RefusedError(
                str(frozen), hint=hints.Hint("wait for: ", hints.command("thaw", frozen.project or "--all"))
            )

    def enqueue(self, name: str, request: Request) -> Deployment:
        """Register a request, once, and have it done in its turn."""
        deployment = self.site.history.enqueue(name, request)
        if not deployment.request.is_again(request):
            raise UsageError("the token is that of another request")
        self.work.lanes.wake(name)
        return deployment
