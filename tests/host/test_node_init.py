"""A machine becomes a node, over an ssh as root that runs its scripts in the folder of a host."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fleet import FleetBox, fleet_box
from tests.support.places import TOP

pytestmark = pytest.mark.timeout(600)  # with the setup of the fleet

SSH = """\
#!/bin/sh
for last; do :; done
case "$*" in
*"-p 9 "*) echo "ssh: connect to host 127.0.0.1 port 9: Connection refused" >&2; exit 255 ;;
*"sh -ec "*) ;;
*) exec {ssh} "$@" ;;
esac
export CORPUS_ROOT={root} PATH={programs}/there:/usr/bin:/bin PYTHONPATH={top}
exec sh -c "$last"
"""
CORPUS = """\
#!/bin/sh
test "$1" != setup || {{ echo setup >>{programs}/done; echo "$1 is done"; exit 0; }}
exec {python} -m corpushooks "$@"
"""
CAT = '#!/bin/sh\ncase "$*" in */ssh_host_ed25519_key.pub) exec /bin/cat {key};; esac; exec /bin/cat "$@"\n'


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetBox]:
    folder = tmp_path_factory.mktemp("fleet")
    with fleet_box(folder, "n1") as found, pytest.MonkeyPatch.context() as patch:
        there, node = folder / "programs/there", found.nodes["n1"]
        there.mkdir(parents=True)
        given = {
            "programs": folder / "programs", "python": sys.executable, "root": node.box.host.root, "top": TOP,
            "ssh": "/usr/bin/ssh", "key": node.server.folder / "host.pub",
        }  # fmt: skip
        programs = {"../ssh": SSH, "corpus": CORPUS, "cat": CAT, "id": "#!/bin/sh\necho 0\n"}
        for name, text in programs.items():
            (there / name).write_text(text.format(**given))
            (there / name).chmod(0o755)
        patch.setenv("PATH", f"{folder / 'programs'}:{os.environ['PATH']}")
        yield found


def init(fleet: FleetBox, *words: str, port: int = 0) -> tuple[int, list[str], list[str]]:
    account, _, place = fleet.nodes["n1"].address.partition("@")
    host = place if not port else f"127.0.0.1:{port}"
    done = fleet.corpus("node", "init", "n1", f"root@{host}", "--account", account, *words)
    return done.code, done.stdout.decode().splitlines(), done.stderr.decode().splitlines()


def test_a_machine_becomes_a_node_and_again_nothing_changes(fleet: FleetBox, tmp_path: Path) -> None:
    code, said, wrong = init(fleet, "--link", "hello", "--label", "eu")
    assert (code, wrong) == (0, []), (said, wrong)
    assert [line.split()[0] for line in said] == ["ssh", "package", "setup", "key", "host", "node", "link"]
    assert "added n1, host key SHA256:" in said[5] and said[6].endswith("hello is deployed to n1")
    assert fleet.box.app("one").push().code == 0
    assert (fleet.nodes["n1"].box.project().tree / "index.html").read_text() == "one"
    again = init(fleet, "--link", "hello", "--label", "eu")
    assert again[0] == 0 and again[1][:5] == said[:5] and "changed n1" in again[1][5]


def test_what_is_wrong_is_one_line_with_a_command(fleet: FleetBox) -> None:
    code, _, wrong = init(fleet, port=9)
    assert code == 1 and len(wrong) == 2, wrong
    assert wrong[0] == (
        "error: cannot reach root@127.0.0.1:9 over ssh: ssh: connect to host 127.0.0.1 port 9: Connection refused"
    )
    assert wrong[1] == "hint: try it by hand: ssh -p 9 root@127.0.0.1"
    programs = Path(os.environ["PATH"].partition(":")[0]) / "there"
    (programs / "corpus").rename(programs / "gone")
    code, said, wrong = init(fleet)
    (programs / "gone").rename(programs / "corpus")
    assert code == 3 and len(said) == 1 and len(wrong) == 2, (said, wrong)
    assert wrong[0] == "error: corpushooks is not installed on 127.0.0.1" and "--package FILE.deb" in wrong[1]
    (programs / "id").write_text("#!/bin/sh\necho 1000\n")
    code, said, wrong = init(fleet)
    (programs / "id").write_text("#!/bin/sh\necho 0\n")
    assert code == 3 and said == [] and "is not root on" in wrong[0]
