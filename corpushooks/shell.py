"""The programs that sshd starts for ssh keys: `corpus-shell keys` and `corpus-shell serve`.

The first tells sshd which keys are accepted (AuthorizedKeysCommand). The second is the only program that a key can run:
it asks the daemon to admit the session, then becomes one of git's programs or a command of `corpus`. There is no shell,
and only the variables listed here are passed on from the client's environment.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import syslog
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from corpushooks.access import keys
from corpushooks.access.keyring import Keyring
from corpushooks.access.keys import Key
from corpushooks.core.errors import CorpusError, NoDaemonError
from corpushooks.core.hints import Hint, Spelling, command
from corpushooks.core.project import Host
from corpushooks.core.rights import OBJECTS
from corpushooks.core.text import one_line
from corpushooks.operations.ssh_commands import GIVEN, PROGRAM, Wanted, forced, help_lines, parse, spelling
from corpushooks.protocol.client import ADMISSION, ask
from corpushooks.store.history import History
from corpushooks.system import hostname

SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSED = {  # variables of the client that are passed on, and their format
    "GIT_PROTOCOL": re.compile(r"version=[0-9](:version=[0-9])*"),
    "LANG": re.compile(r"[A-Za-z0-9_.@-]{1,40}"),
    "TERM": re.compile(r"[A-Za-z0-9_.+-]{1,40}"),
    "SSH_CONNECTION": re.compile(r"[0-9A-Fa-f.:% ]{1,200}"),
}
SESSION = ("node", "serve")  # what a controller asks for
ONLY_ROLLOUTS = (  # what git serves to a node; by the oldest protocol, since the next one serves any object by its id
    "uploadpack.hideRefs=HEAD", "uploadpack.hideRefs=refs", "uploadpack.hideRefs=!refs/rollout",
    "uploadpack.allowTipSHA1InWant=false", "uploadpack.allowReachableSHA1InWant=false",
    "uploadpack.allowAnySHA1InWant=false",
)  # fmt: skip
OWN = ("LOGNAME", "USER")  # set by sshd
GIT_HOME = (
    Path(__file__).parent / "share/host/git_home"
)  # a file, since git before 2.38 reads safe.directory from nowhere else


def main() -> None:
    """Run the program that sshd starts."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__, allow_abbrev=False)
    parser.add_argument("--root", type=Path, default=Path("/"), help="the host's root")
    uses = parser.add_subparsers(dest="use", required=True)
    lister = uses.add_parser("keys", help="print the line of authorized_keys for a key: AuthorizedKeysCommand")
    for name in ("user", "kind", "blob"):
        lister.add_argument(name)
    server = uses.add_parser("serve", help="run SSH_ORIGINAL_COMMAND with the rights of a key")
    server.add_argument("key")
    server.add_argument("--mark", default="", help="the id of the key: another one can have its name by now")
    server.add_argument("--certificate", default="", help="the key id of the certificate that was used")
    given = parser.parse_args()
    host = Host(given.root.resolve())
    if given.use == "keys":
        sys.exit(_list(host, given.user, given.kind, given.blob))
    sys.exit(serve(host, given.key, given.certificate, os.environ, given.mark))


# accepted keys


def _list(host: Host, user: str, kind: str, blob: str) -> int:
    try:
        print("".join(f"{line}\n" for line in known(host, kind, blob, user)), end="")
    except CorpusError as exc:
        _warn(exc)
        return exc.exit_code
    return 0


def _warn(exc: CorpusError) -> None:
    """Report an error to syslog, since sshd does not show our output."""
    _complain(exc, Spelling())
    syslog.openlog(PROGRAM, syslog.LOG_PID, syslog.LOG_AUTH)
    syslog.syslog(syslog.LOG_WARNING, one_line(exc.message))


def known(host: Host, kind: str, blob: str, user: str) -> list[str]:
    """Return the line of authorized_keys for a key or certificate of a user, or nothing."""
    certificate, authority = keys.certified(kind, blob) if kind.endswith(keys.CERTIFICATE) else ("", "")
    history = History(host.store)
    try:
        ring = Keyring(history)
        found = ring.holding(authority or blob)
        if not authority and (found is None or found.source):
            found = _of_directory(host, ring, kind, blob)
    finally:
        history.close()
    if found is None or found.authority != bool(authority) or found.refusal(found.least):
        return []
    return [found.line(forced(host, found, certificate), user)]


def _of_directory(host: Host, ring: Keyring, kind: str, blob: str) -> Key | None:
    from corpushooks.access import (
        lookup,  # here: a key that was added by hand needs neither this nor the settings
    )
    from corpushooks.core.settings import load

    return lookup.look_up(ring, load(host.config_file), kind, blob, _warn)


# a session


def serve(host: Host, key: str, certificate: str, environ: Mapping[str, str], mark: str = "") -> int:
    """Run the requested command; return an exit code if this process does not become another program."""
    try:
        wanted = parse(environ.get("SSH_ORIGINAL_COMMAND", ""))
        if wanted.words[:1] == ("help",):
            return _say(_help(*wanted.words[1:]))
        admitted = _admit(host, key, mark, certificate, wanted)
    except CorpusError as exc:
        return _complain(exc, spelling(host, _called(host)))
    if wanted.words == ("whoami",):
        return _say(_who(admitted))
    if wanted.git == "receive-pack" and admitted.get("note"):
        print(admitted["note"], file=sys.stderr)
    words, env = program(host, wanted, admitted, environ)
    if wanted.words == SESSION:
        return _answer_orders(host, env)
    return _become(words, env)


def _admit(host: Host, key: str, mark: str, certificate: str, wanted: Wanted) -> dict[str, Any]:
    asked = {
        "key": key, "mark": mark, "certificate": certificate, "right": wanted.right, "project": wanted.project,
        "repo": wanted.repo,
    }  # fmt: skip
    try:
        return ask(host, "admit", asked, print)
    except NoDaemonError as exc:
        hint = Hint("the administrator of this server can find the cause: ", command("doctor"))
        raise NoDaemonError(f"the deployment daemon does not answer: {exc.message}", hint) from exc


def _called(host: Host) -> str:
    """Return the ssh arguments for this host."""
    from corpushooks.core.settings import Settings, load  # here: only needed for errors, and slow to load
    from corpushooks.host.address import called

    try:
        settings = load(host.config_file)
    except CorpusError:
        settings = Settings()
    return called(settings.account, settings.address or hostname.fqdn())


def _help(topic: str = "") -> Sequence[str]:
    """Return a page of the documentation, or the list of commands and pages."""
    from corpushooks.cli import pages  # here: only needed for help

    if topic:
        return pages.page(topic).splitlines()
    return [*help_lines(), "", "pages of the documentation, for help TOPIC:", *pages.listed()]


def _say(lines: Sequence[str]) -> int:
    print("\n".join(lines))
    return 0


def _complain(exc: CorpusError, spell: Spelling) -> int:
    print(f"error: {exc.message}", file=sys.stderr)
    if exc.hint:
        print(f"hint: {spell(exc.hint)}", file=sys.stderr)
    return exc.exit_code


def _who(admitted: Mapping[str, Any]) -> list[str]:
    """Return the output of `whoami`."""
    end = f", until {keys.day(admitted['expires'])} UTC" if admitted["expires"] else ""
    return [f"{admitted['who']} has rights: {admitted['may']}{end}"]


def program(
    host: Host, wanted: Wanted, admitted: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Return the command line of git or of `corpus`, and its whole environment."""
    own = {name: environ[name] for name in OWN if name in environ}
    passed = {name: environ[name] for name, like in PASSED.items() if like.fullmatch(environ.get(name, ""))}
    env = {"PATH": SEARCH, **own, **passed, ADMISSION: admitted["admission"]}
    if wanted.git:
        path = admitted["entrance" if wanted.git == "receive-pack" else "path"]
        if wanted.right == OBJECTS:
            env.pop("GIT_PROTOCOL", None)
            only = [word for each in ONLY_ROLLOUTS for word in ("-c", each)]
            return ["git", *only, wanted.git, path], {**env, "HOME": str(GIT_HOME)}
        return ["git", wanted.git, path], {**env, "HOME": str(GIT_HOME)}
    env |= {GIVEN: json.dumps(wanted.given)} if wanted.given else {}
    return [sys.executable, "-I", "-m", "corpushooks", "--root", str(host.root), *wanted.words], env


def _answer_orders(host: Host, env: Mapping[str, str]) -> int:
    """Answer a controller here: another start of Python would be most of what its connection costs."""
    from corpushooks.cli import node_session  # here: nobody else needs it

    os.environ.clear()
    os.environ.update(env)
    try:
        node_session.serve(host)
    except CorpusError as exc:
        return _complain(exc, spelling(host, _called(host)))
    return 0


def _become(words: list[str], env: Mapping[str, str]) -> NoReturn:
    """Become another program: the process stays the one that was admitted."""
    os.execvpe(words[0], words, env)
