"""The pages: what they cost, and how soon a line is on one."""

from __future__ import annotations

import contextlib
import http.client
import json
import statistics
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.hosts import last
from benchmarks.measure import Row, in_turn, smaller, timed, within
from corpushooks.system.process import run, spawn
from tests.support.box import Box, until
from tests.support.web import Web, serving
from tests.support.window import browsing, sign_in, window

FOLLOWERS = 50
LINES = 20
SOON, SIZE = 0.15, 60 << 20  # seconds to the page, bytes resident
SEEN = """() => {
    window.seen = [];
    new MutationObserver((all) => {
        const nodes = all.flatMap((each) => [...each.addedNodes]);
        for (const node of nodes) window.seen.push([Date.now() / 1000, node.textContent]);
    }).observe(document.getElementById("log"), {childList: true});
}"""
TICK = "tick-{0}:\n  cmd.run:\n    - name: while ! test -e {1}/tick-{0}; do sleep 0.01; done; echo tick {0}\n"


def shown(box: Box, web: Web) -> float:
    """Return the median of the seconds from an event to its text on the page of a browser."""
    work = box.work()
    for number in range(1, LINES + 1):
        (box.root / f"tick-{number}").unlink(missing_ok=True)
    ticks = {f".salt/{number + 10}_tick.sls": TICK.format(number, box.root) for number in range(1, LINES + 1)}
    work.commit({**ticks})
    before = last(box)
    push = spawn(["git", "-C", work.path, "push", "--quiet", work.remote, "HEAD:master"])
    number = until(lambda: (now := last(box)) > before and now)
    with browsing() as chromium, window(chromium, web) as page:
        sign_in(page, web.token("host"))
        page.goto(f"/projects/hello/deployments/{number}")
        page.get_by_text("Following it live.").wait_for()
        page.evaluate(SEEN)
        seen: list[tuple[float, str]] = []
        for tick in range(1, LINES + 1):
            (box.root / f"tick-{tick}").touch()
            if tick < LINES:
                page.wait_for_function(f"() => window.seen.some((each) => each[1].includes('{tick + 10}_tick'))")
                seen = page.evaluate("() => window.seen")
        assert push.wait(60) == 0
    path = f"/projects/hello/deployments/{number}/log"
    events = [json.loads(line) for line in web.api("GET", path, Accept="application/jsonl").text.splitlines()]
    came = {text.rstrip("\n"): at for at, text in reversed(seen)}
    return statistics.median(came[each["text"]] - each["at"] for each in events if each["text"] in came)


@contextlib.contextmanager
def followed(web: Web, number: int) -> Iterator[None]:
    """Have a log followed by many browsers, to its end."""
    token = web.token("read")
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    links = []
    for _ in range(FOLLOWERS):
        link = http.client.HTTPConnection("127.0.0.1", web.port, timeout=120)
        link.request("GET", f"/api/v1/projects/hello/deployments/{number}/log", headers=headers)
        links.append((link, link.getresponse()))
    threads = [threading.Thread(target=answer.read) for _, answer in links]
    for each in threads:
        each.start()
    yield
    for each in threads:
        each.join()
    for link, _ in links:
        link.close()


def resident(web: Web) -> int:
    """Return the bytes of memory that the web process holds."""
    assert web.child
    text = Path(f"/proc/{web.child.pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) << 10


def pushing(box: Box, web: Web, *, watched: bool, sizes: list[int]) -> float:
    """Return how long a push takes from a gate on, with many browsers that follow it, or none."""
    gate = box.root / "gate"
    gate.unlink(missing_ok=True)
    work, before = box.work(), last(box)
    states = "".join(f"state-{each}:\n  test.nop: []\n" for each in range(20))
    wait = f"gate:\n  cmd.run:\n    - name: while ! test -e {gate}; do sleep 0.01; done\n"
    work.commit({".salt/10_gate.sls": wait, **{f".salt/{each}_many.sls": states for each in range(20, 26)}})
    push = spawn(["git", "-C", work.path, "push", "--quiet", work.remote, "HEAD:master"])
    number = until(lambda: (now := last(box)) > before and now)
    until(lambda: "[3/8]" in box.log(number))
    with followed(web, number) if watched else contextlib.nullcontext():
        if watched:
            sizes.append(resident(web))
        gate.touch()
        took = timed(lambda: push.wait(120))
        box.ended(number)
    return took


def measure(folder: Path, rounds: int, big: Any) -> list[Row]:
    """Return the rows; `big` gives a host of many projects."""
    box = Box(folder / "host", salt=True)
    box.root.mkdir(parents=True)
    box.init()
    box.start()
    try:
        box.app()
        assert box.work().push().code == 0
        with serving(box) as web:
            sizes: list[int] = []
            sides = [lambda watched=each: pushing(box, web, watched=watched, sizes=sizes) for each in (True, False)]
            many, none = in_turn(rounds, *sides)
            box.work().commit({f".salt/{each}_many.sls": None for each in range(20, 26)} | {".salt/10_gate.sls": None})
            soon = shown(box, web)
    finally:
        box.stop()
    with big as estate, serving(estate) as web:
        token = web.token("host")
        cookie = {"Cookie": f"__Host-corpus={session(web, token)}"}
        status = [sys.executable, "-m", "corpushooks", "--root", str(estate.host.root), "status", "--json"]

        def page() -> float:
            return timed(lambda: web.ask("GET", "/", headers=cookie))

        assert b"app499" in web.ask("GET", "/", headers=cookie).body
        listed, asked = in_turn(rounds, page, lambda: timed(lambda: run(status)))
    return [
        within("a line of a log, on the page", soon, "wanted", SOON, 1),
        smaller(f"corpus web with {FOLLOWERS} followers", max(sizes), "wanted", SIZE, 1),
        within(f"push, {FOLLOWERS} browsers follow", many, "none follows", none, 1.1),
        within("page of 500 projects, 10000 deployments", listed, "corpus status --json", asked, 3),
    ]


def session(web: Web, token: str) -> str:
    """Sign in with a token; return the session."""
    form = f"token={token}&next=/".encode()
    found = web.ask("POST", "/sign-in", form, headers={"Content-Type": "application/x-www-form-urlencoded"})
    return found.headers["set-cookie"].partition("=")[2].partition(";")[0].strip('"')
