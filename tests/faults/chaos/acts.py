"""Rounds of a host that keeps backups: a backup, a drill or a restore is asked for, and who works on it is killed.

The promise: what is called a backup comes back exactly; a restore that failed has changed nothing, one that did not has
kept what was there; no lock is left, nobody is paused, and the lane is free for the next round.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from corpushooks.core.deployment import DONE
from corpushooks.system.process import Child, spawn
from tests.faults.chaos.processes import ENGINE
from tests.faults.chaos.promise import Tree, backup_faults, rows, tree_of
from tests.faults.chaos.rounds import ACTS, Fate, Hit, Plan, Scene
from tests.support.backups import starting
from tests.support.box import Box
from tests.support.command import corpus

VICTIMS = (ENGINE, "daemon", "session", "command")
OWN = "kept"  # in data/: what the application writes there
PROVED = 2  # backups of a host that are restored at its end


@dataclass
class Keeper:
    """Who asks a host for its backups, and knows what is in them."""

    host: Scene
    took: dict[str, float]  # seconds of an act that nobody was killed in; kept from host to host
    known: dict[int, Tree] = field(default_factory=dict)  # what the application had written, by the backup with it

    @property
    def box(self) -> Box:
        return self.host.box

    def asks(self, dice: random.Random, plan: Plan) -> Plan:
        """Return the plan of a round that asks for a backup, a drill or a restore instead of a push."""
        kind = dice.choice(ACTS if self.known else ("backup",))
        victims = tuple(dice.sample(VICTIMS, len(VICTIMS)))
        return replace(plan, kind=kind, over_ssh=False, answer="", victims=victims)

    def play(self, plan: Plan) -> Fate:
        """Do one round and say what became of it."""
        fate, data = Fate(plan), self.box.project().data
        if plan.kind != "drill":
            write(data / OWN, plan.number)
        before, page = tree_of(data), (data / "page").read_bytes()
        last, number = self._newest(), self._chosen(plan)
        begun = time.monotonic()
        asked = self._ask(plan, number)
        killed = None
        if plan.kind in self.took:  # else nobody is killed: it is measured
            time.sleep(plan.moment * self.took[plan.kind])
            killed = self.host.kill(plan, asked)
        try:
            self.host.recover(plan, asked, killed, fate)
        except AssertionError as exc:
            fate.wrong.append(f"no end: {exc}; alive: {self.host.names(asked)}")
        if not killed:
            self.took[plan.kind] = time.monotonic() - begun
        self._judge(fate, asked, killed, before, last, number)
        (data / "page").write_bytes(page)  # what releases write there is not to be of another one
        return fate

    def _ask(self, plan: Plan, number: int) -> Child[bytes]:
        more = ["--data", "--force"] if plan.kind == "restore" else []
        asked = ["hello", str(number), *more] if plan.kind != "backup" else ["hello"]
        words = [*starting(self.box), plan.kind, *asked]
        said = os.open(self.box.root / "act.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            return spawn(words, stdout=said, stderr=said)
        finally:
            os.close(said)

    def _chosen(self, plan: Plan) -> int:
        """Return the backup that is drilled or restored, 0 where there is none."""
        return sorted(self.known)[int(plan.pick * len(self.known))] if self.known else 0

    def _newest(self) -> int:
        return int(rows(self.box.host.store, "SELECT coalesce(max(number), 0) FROM deployment")[0][0])

    def _judge(
        self, fate: Fate, asked: Child[bytes], killed: Hit | None, before: Tree, last: int, number: int
    ) -> None:  # fmt: skip
        """Compare what is with what was promised."""
        query = "SELECT number, state, reason FROM deployment WHERE number > ?"
        new = [tuple(row) for row in rows(self.box.host.store, query, last)]
        state = str(new[0][1]) if new else ""
        fate.outcome = f"{state or 'no request'}, exit code {asked.returncode}"
        if killed:
            fate.victim, fate.moment = killed.part, f"a {fate.plan.kind}"
        if len(new) > 1:
            fate.wrong.append(f"one command became {len(new)} requests")
        if (asked.returncode == 0) != (state == DONE):
            fate.wrong.append(f"the command ended with {asked.returncode}, the request is {state or 'not there'}")
        if state != DONE and not killed:
            fate.wrong.append(f"nobody was killed, and it is {state or 'not there'}: {new}")
        fate.wrong += backup_faults(self.box)
        mine = new[0][0] if new else 0
        if fate.plan.kind == "backup":
            fate.wrong += self._of_backup(mine, state, before)
        restored = fate.plan.kind == "restore" and state == DONE
        fate.wrong += self._of_data(mine, before, self.known.get(number, {}) if restored else None)

    def _of_backup(self, number: int, state: str, before: Tree) -> Iterator[str]:
        listed = bool(rows(self.box.host.store, "SELECT 1 FROM backup WHERE number = ?", number))
        if listed != (state == DONE):
            yield f"the backup is {state}, and listed: {listed}"
        if listed:
            self.known[number] = below(before)

    def _of_data(self, number: int, before: Tree, wanted: Tree | None) -> Iterator[str]:
        """What is in data/ now, and what is kept of what was there; `wanted`: what a restore has brought back."""
        project = self.box.project()
        now, aside = tree_of(project.data), project.dir / "replaced" / str(number)
        if wanted is None:
            if now != before:
                yield f"data/ was touched: {differing(before, now)}"
            if aside.exists():
                yield f"left over: {aside}"
            return
        if below(now) != wanted:
            yield f"data/ is not that of the backup: {differing(wanted, below(now))}"
        if (there := tree_of(aside / "data") if (aside / "data").exists() else {}) != before:
            yield f"what was in data/ is not kept: {differing(before, there)}"
        shutil.rmtree(aside, ignore_errors=True)

    def prove(self) -> Iterator[str]:
        """Restore the newest backups aside, and drill the last one: what is called a backup comes back."""
        for number in sorted(self.known)[-PROVED:]:
            to = self.box.root / f"proved-{number}"
            done = corpus(self.box, "restore", "hello", str(number), "--to", str(to))
            if done.code or tree_of(to / "data" / OWN) != self.known[number]:
                yield f"backup {number} does not come back: {done.text}"
        if self.known and (done := corpus(self.box, "drill", "hello", str(max(self.known)))).code:
            yield f"backup {max(self.known)} fails its drill: {done.text}"


def below(found: Tree) -> Tree:
    """Return what the application wrote, of the tree of data/."""
    inside = {name: entry for name, entry in found.items() if name == OWN or name.startswith(f"{OWN}/")}
    return {_below(name): entry._replace(links=tuple(map(_below, entry.links))) for name, entry in inside.items()}


def _below(name: str) -> str:
    return "." if name == OWN else name.removeprefix(f"{OWN}/")


def differing(was: Tree, now: Tree) -> Sequence[str]:
    return [name for name in sorted(was.keys() | now.keys()) if was.get(name) != now.get(name)][:8]


def write(folder: Path, number: int) -> None:
    """Be the application: change, add and remove files of each kind."""
    folder.mkdir(exist_ok=True)
    for place in range(number % 5, number % 5 + 30):
        (folder / f"photo{place % 40}").write_bytes(random.Random(number * 100 + place).randbytes(40_000))
    for name in ("twin", "link", f"photo{(number + 7) % 40}"):
        (folder / name).unlink(missing_ok=True)
    os.link(folder / f"photo{number % 5}", folder / "twin")
    (folder / "link").symlink_to(f"photo{number % 40}")
    with (folder / "sparse").open("wb") as file:
        file.truncate(1 << 20)
        file.write(str(number).encode())
    (folder / "secret").unlink(missing_ok=True)
    (folder / "secret").write_text(str(number))
    (folder / "secret").chmod(0o400 + number % 8)
    (folder / "in").mkdir(exist_ok=True)
    os.utime(folder / "in", ns=(10**18 + number, 10**18 + number))
