"""One round: push, kill, restart, await the end of all, compare."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from corpushooks.core.deployment import DEPLOYED, FAILED, HELD, REFUSED, ROLLED_BACK
from corpushooks.core.errors import NoDaemonError
from corpushooks.deploy import pausing
from corpushooks.deploy.deploy import FIRST, HOLDING_SAVING, ROLL_BACK
from corpushooks.protocol import client
from corpushooks.system.process import Child, Output, spawn
from tests.faults.chaos.processes import ENGINE, VICTIMS, Process, cast, crew, kill, sockets
from tests.faults.chaos.promise import State, Wanted, backup_faults, broken_promises, rows, state_of
from tests.faults.chaos.releases import Releases
from tests.support.box import Box, Push
from tests.support.mounts import unmount_below
from tests.support.sshd import Server

PATIENCE = 180.0  # seconds until a push that has no end is a violation
SEVERAL = ("client", "sshd", "command")  # parts that more than one process plays
ACTS = ("backup", "drill", "restore")  # what is asked for instead of a push
ANSWERS = ("confirm", "cancel", "nothing")  # what comes of what is held
LEASES = {"confirm": 600, "cancel": 600, "nothing": 2}  # seconds
CONNECTION = ("client", "sshd", "receive-pack", "hook")
MOMENTS = (
    "arriving", "queued", "checks", *dict.fromkeys(step.name for step in HOLDING_SAVING.steps),
    *(f"undo {step.name}" for step in ROLL_BACK.steps), "ended", *(f"a {act}" for act in ACTS),
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What the dice say of a round."""

    number: int
    kind: str  # deploy, fail, pillar or bad pillar
    over_ssh: bool
    victims: tuple[str, ...]  # the first that lives at the moment is killed
    pick: float  # which of several that play the part
    moment: float  # of the time that a deployment takes
    revive: bool  # start a daemon at once, where it is gone; else its start is left to the hook while that lives
    again: float | None  # kill the daemon once more, at this moment after it was started again
    answer: str  # it is held, and this comes of it; nothing: it is not held
    waits: float  # seconds that it is held until then

    @classmethod
    def roll(cls, dice: random.Random, number: int, victims: Sequence[str] = VICTIMS) -> Plan:
        """Roll the dice for a round in which one of `victims` is killed."""
        return cls(
            number,
            kind=dice.choices(("deploy", "fail", "pillar", "bad pillar"), (50, 30, 12, 8))[0],
            over_ssh=dice.random() < 0.5,
            victims=tuple(dice.sample(victims, len(victims))),
            pick=dice.random(),
            moment=dice.uniform(0, 1.1),
            revive=dice.random() < 0.7,
            again=dice.uniform(0, 0.8) if dice.random() < 0.2 else None,
            answer=dice.choice(ANSWERS) if dice.random() < 0.5 else "",
            waits=dice.uniform(0, 1),
        )

    def kills_after(self, took: float) -> float:
        """Return after how many seconds the kill comes, where a deployment takes so long; what is held takes longer."""
        held = LEASES["nothing"] if self.answer == "nothing" else self.waits + 0.2 if self.answer else 0.0
        return self.moment * (took + (0.0 if self.fails else held))

    @property
    def fails(self) -> bool:
        return self.kind in ("fail", "bad pillar")


class Hit(NamedTuple):
    """A kill that hit."""

    part: str
    when: float  # seconds since the epoch


@dataclass
class Fate:
    """What became of a round."""

    plan: Plan
    victim: str = ""  # nobody: the kill missed
    moment: str = ""
    again: bool = False
    orphans: int = 0
    outcome: str = ""
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        way = "ssh " if self.plan.over_ssh else "path"
        hit = f"{self.victim}{' twice' if self.again else ''} in {self.moment}" if self.victim else "missed, too late"
        note = f", {self.orphans} checkouts of the dead daemon go on" if self.orphans else ""
        kind = f"{self.plan.kind}{self.plan.answer and f', held: {self.plan.answer}'}"
        return f"round {self.plan.number:>4} {way} {kind:<26} {hit:<32} {self.outcome}{note}"


@dataclass
class Scene:
    """A host that is pushed to in rounds."""

    box: Box
    server: Server
    releases: Releases
    environment: str
    took: dict[bool, float]  # seconds from a push to the end of its deployment, by whether it fails
    page: int = 0  # the number of the last release that was pushed

    def play(self, plan: Plan) -> Fate:
        """Do one round and say what became of it."""
        fate, before = Fate(plan), state_of(self.box)
        if before.row.code:
            self.releases.live(plan.number)
            before = state_of(self.box)
        wanted, repo = self._commit(plan, before)
        begun = time.time()
        options = [
            *(["deploy"] if repo == "pillar" else []),
            *([f"confirm={LEASES[plan.answer]}"] if plan.answer else []),
        ]
        push = self._push(repo, over_ssh=plan.over_ssh, options=options)
        over = threading.Event()
        answering = threading.Thread(target=self._answer, args=(plan, before.last + 1, over))
        answering.start()
        time.sleep(plan.kills_after(self.took[plan.fails]))
        killed = self.kill(plan, push)
        try:
            self.recover(plan, push, killed, fate)
        except AssertionError as exc:
            fate.wrong.append(f"no end: {exc}; alive: {self.names(push)}")
        over.set()
        answering.join()
        unmount_below(self.box.project().tree / "media")
        self._judge(fate, before, wanted, killed, push)
        if not killed and not plan.answer:  # how long it takes now: this machine may have other work than before
            ended = rows(self.box.host.store, "SELECT ended FROM deployment WHERE number = ?", before.last + 1)
            self.took[plan.fails] = ended[0][0] - begun if ended and ended[0][0] else self.took[plan.fails]
        return fate

    def _answer(self, plan: Plan, number: int, over: threading.Event) -> None:
        """Confirm or cancel what is held, of whichever daemon there is, until that is said."""
        while not over.wait(0.02):
            state = rows(self.box.host.store, "SELECT state FROM deployment WHERE number = ?", number)
            if not state or state[0][0] != HELD or plan.answer not in ("confirm", "cancel"):
                continue
            over.wait(plan.waits)
            with contextlib.suppress(NoDaemonError, OSError), client.connect(self.box.host) as link:
                link.settimeout(PATIENCE)
                link.sendall(json.dumps({"op": plan.answer, "project": "hello", "number": number}).encode() + b"\n")
                while link.recv(65536):
                    pass

    def once(self, *, fails: bool) -> float:
        """Push one release, kill nobody, and return how long it took to its very end."""
        self.page += 1
        self.releases.code(self.page, fails=fails)
        last, start = state_of(self.box).last, time.monotonic()
        push = self._push("project", over_ssh=True, options=())
        assert (push.wait(PATIENCE) == 0) != fails, self._said(push).text
        self.box.ended(last + 1)
        unmount_below(self.box.project().tree / "media")
        return time.monotonic() - start

    def _commit(self, plan: Plan, before: State) -> tuple[Wanted, str]:
        """Commit what a round pushes; return what it asks for, and from which repository."""
        given = self.releases.own_fixperms
        if plan.kind.endswith("pillar") and before.row.code:
            commit = self.releases.pillar(plan.number, fails=plan.fails)
            return Wanted(None, commit, plan.fails, given, b""), "pillar"
        self.page += 1
        commit = self.releases.code(self.page, fails=plan.fails)
        return Wanted(commit, None, plan.fails, given, f"r{self.page}\n".encode()), "project"

    def _push(self, repo: str, *, over_ssh: bool, options: Sequence[str]) -> Child[bytes]:
        work = self.box.work(repo=repo)
        remote = self.server.url(work.remote) if over_ssh else work.remote
        words = ["git", "-C", work.path, "-c", f"core.sshCommand={self.server.command}", "push",
                 *(f"--push-option={option}" for option in options), remote, "HEAD:master"]  # fmt: skip
        said = os.open(self.box.root / "push.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            return spawn(words, stderr=said)
        finally:
            os.close(said)

    def _said(self, push: Child[bytes]) -> Push:
        return Push.of(Output(push.returncode, b"", (self.box.root / "push.log").read_bytes()))

    # the kill

    def kill(self, plan: Plan, push: Child[bytes]) -> Hit | None:
        """Kill the first victim that lives, if the round has not ended."""
        if push.poll() is not None and not self._open():
            return None
        parts = cast(crew(self.box, self.server, push), push)
        for part in plan.victims:
            if not parts[part]:
                continue
            chosen = parts[part][int(plan.pick * len(parts[part])) if part in SEVERAL else 0]
            if kill(chosen):
                return Hit(part, time.time())
        return None

    def _open(self) -> list[sqlite3.Row]:
        return rows(self.box.host.store, "SELECT number FROM deployment WHERE ended IS NULL")

    def names(self, push: Child[bytes]) -> list[str]:
        return [f"{each.pid} {' '.join(each.words)[:120]}" for each in crew(self.box, self.server, push).values()]

    # afterwards

    def recover(self, plan: Plan, push: Child[bytes], killed: Hit | None, fate: Fate) -> None:
        """Bring the host back as an init system would, and await the end of all that was begun."""
        if not plan.revive:
            self._gone(push)
        revive(self.box)
        fate.orphans = self._orphans(push)
        if plan.again is not None and killed and killed.part == "daemon":
            time.sleep(plan.again * self.took[plan.fails])
            daemons = cast(crew(self.box, self.server, push), push)["daemon"]
            fate.again = bool(self._open() and daemons and kill(daemons[0]))
        end = time.monotonic() + PATIENCE
        while not self._settled(push):
            assert time.monotonic() < end, f"not settled within {PATIENCE:g} s"
            revive(self.box)
            time.sleep(0.05)

    def _orphans(self, push: Child[bytes]) -> int:
        """Return how many checkouts of a dead daemon still work when the next one does."""
        table = crew(self.box, self.server, push)
        return sum(each.parent not in table and "--git-dir" in each.words for each in table.values())

    def _gone(self, push: Child[bytes]) -> None:
        """Await that nobody is left who would start a daemon."""
        end = time.monotonic() + PATIENCE
        while any(cast(crew(self.box, self.server, push), push)[part] for part in CONNECTION):
            push.poll()
            assert time.monotonic() < end, f"the push has no end within {PATIENCE:g} s"
            time.sleep(0.05)

    def _settled(self, push: Child[bytes]) -> bool:
        """Say whether nothing is left to do, and nobody of it left."""
        if push.poll() is None or self._open():
            return False
        table = crew(self.box, self.server, push)
        parts = cast(table, push)
        stay = {each.pid for part in ("daemon", "worker") for each in parts[part]}
        heard = table.keys() - stay or self._heard(parts["daemon"])
        return not heard and not self._open()  # what the last who was heard asked for

    def _heard(self, daemons: list[Process]) -> bool:
        """Say whether a daemon still talks to somebody: what a dead hook asked for may yet be queued."""
        idle = 2 if self.box.salt else 1  # it listens, and has a Salt worker
        with contextlib.suppress(OSError):
            return any(sockets(each) > idle for each in daemons)
        return True

    def _judge(self, fate: Fate, before: State, wanted: Wanted, killed: Hit | None, push: Child[bytes]) -> None:
        new = [one for one in self._deployments() if one[0] > before.last]
        state = new[0][1] if new else ""
        fate.outcome = f"{state or 'no deployment'}, exit code {push.returncode}"
        if killed:
            fate.victim = killed.part
            fate.moment = moment_of(self.box.host.store, before.last, killed.when)
        fate.wrong += broken_promises(self.box, before, wanted)
        fate.wrong += self._exit_code(fate, state, push)
        fate.wrong += self._course(fate, state)
        fate.wrong += self._decided(fate, before.last + 1)
        if self.releases.backups:
            fate.wrong += self._backups(before, state)

    def _deployments(self) -> list[sqlite3.Row]:
        return rows(self.box.host.store, "SELECT number, state FROM deployment ORDER BY number")

    def _exit_code(self, fate: Fate, state: str, push: Child[bytes]) -> Iterator[str]:
        """The exit code of a push is its result, where who brings it lived."""
        if push.returncode == 0 and state != DEPLOYED:
            yield f"the push ended with 0, the deployment is {state or 'not there'}"
        if fate.victim not in CONNECTION and push.returncode != (0 if state == DEPLOYED else 1):
            yield f"the push ended with {push.returncode}, the deployment is {state or 'not there'}"

    def _course(self, fate: Fate, state: str) -> Iterator[str]:
        """What docs/procedure.md says of an interrupted deployment comes true."""
        dev, fails = self.environment == "dev", fate.plan.fails
        good = FAILED if fails and dev else ROLLED_BACK if fails else DEPLOYED
        if not fails and fate.plan.answer in ("cancel", "nothing"):
            good = ROLLED_BACK
        allowed = {good}
        if fate.victim == "daemon" and not fate.again:
            if fate.moment in ("checks", FIRST.name, "archive"):
                allowed = {REFUSED}
            elif fate.moment in ("sync", "hold") or fate.moment.startswith("undo"):
                allowed = {ROLLED_BACK}
            elif fate.moment in ("fixperms", "install"):
                allowed = {FAILED if dev else ROLLED_BACK}
        elif fate.victim == ENGINE:
            allowed = {good, REFUSED}
        elif fate.victim in ("daemon", "worker", "session", "prepared", "question", "command"):
            allowed = {good, REFUSED, ROLLED_BACK, *([FAILED] if dev else [])}
        if fate.moment == "hold" and self._was_held():
            allowed = {good}
        if state and state not in allowed:
            yield f"the deployment is {state}, which is none of {sorted(allowed)}"
        checked = fate.plan.kind.endswith("pillar") and fate.victim in ("session", "prepared", "question", "worker")
        if not state and fate.victim not in CONNECTION and not checked:  # a pillar is checked before it is queued
            yield "there is no deployment, though the client lived"

    def _backups(self, before: State, state: str) -> Iterator[str]:
        """What is called a backup is whole, a deployment has one, and nobody is left paused."""
        yield from backup_faults(self.box)
        query = "SELECT 1 FROM backup JOIN deployment ON backup.name = deployment.backup WHERE deployment.number = ?"
        last = state_of(self.box).last
        if state == DEPLOYED and before.row.code and not rows(self.box.host.store, query, last):
            yield "the deployment is live without a backup"

    def _was_held(self) -> bool:
        found = rows(self.box.host.store, "SELECT held FROM deployment ORDER BY number DESC LIMIT 1")
        return bool(found and found[0][0])

    def _decided(self, fate: Fate, number: int) -> Iterator[str]:
        """What was confirmed is live, and of what was held nothing else."""
        query = "SELECT state, held, confirmed, cancelled FROM deployment WHERE number = ?"
        for state, held, confirmed, cancelled in rows(self.box.host.store, query, number):
            if held and (state == DEPLOYED) != bool(confirmed):
                yield f"it is {state}, confirmed by {confirmed}"
            if confirmed and cancelled:
                yield "it was confirmed and cancelled"


def revive(box: Box) -> None:
    """See that a daemon runs, as an init system would, however slow this machine is."""
    end = time.monotonic() + PATIENCE
    while True:
        if box.daemon is not None and box.daemon.poll() is not None:
            box.daemon = None
        try:
            box.revive()
            return
        except AssertionError:
            if time.monotonic() > end:
                raise


def moment_of(store: Path, last: int, when: float) -> str:
    """Return what the deployment after number `last` did at the time `when`."""
    found = rows(store, "SELECT number, queued, started, ended FROM deployment WHERE number = ?", last + 1)
    if not found or found[0][1] > when:
        return "arriving"
    number, _, started, ended = found[0]
    begun = rows(store, "SELECT step FROM journal WHERE number = ? AND at <= ? ORDER BY seq", number, when)
    if ended and ended <= when:
        return "ended"
    if begun:
        last = str(begun[-1][0])
        if last.startswith((pausing.PAUSED, pausing.RESUMED)):
            return FIRST.name
        return "install" if last.startswith(("install", "health")) else last
    return "checks" if started and started <= when else "queued"
