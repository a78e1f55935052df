"""A machine on which corpushooks is installed and set up, with a project and people: accounts, and keys for ssh."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from corpushooks.system.process import Output
from tests.support import machine
from tests.support.box import Push
from tests.support.machine import CHECKOUT, NAME, PACKAGES, Machine
from tests.support.newcomer import checkout

# As pip would install it, without its minute.
INSTALL = f"""\
ln -s ../hooks {CHECKOUT}/corpushooks/hooks
python3 -m venv --without-pip /opt/corpushooks
printf '%s\\n' {CHECKOUT} {PACKAGES} >$(echo /opt/corpushooks/lib/python3*/site-packages)/corpushooks.pth
for program in corpus:cli.main corpus-shell:shell; do
    cat >/opt/corpushooks/bin/${{program%:*}} <<END
#!/opt/corpushooks/bin/python3 -I
import sys
from corpushooks.${{program#*:}} import main
sys.exit(main())
END
    chmod 755 /opt/corpushooks/bin/${{program%:*}}
done
mkdir -p /var/lib/corpushooks
mount -t tmpfs none /var/lib/corpushooks  # for plans: an overlay cannot have its upper folder in another
/opt/corpushooks/bin/corpus setup
corpus init hello
corpus init other
"""
# Each with a working copy; those who come over ssh have no rights but those of their key.
PERSON = """\
useradd --create-home --shell /bin/sh {name}
mkdir --mode 700 /home/{name}/.ssh
ssh-keygen -q -t ed25519 -N '' -f /home/{name}/.ssh/id_ed25519
echo "{host} $(cat /etc/ssh/ssh_host_ed25519_key.pub)" >/home/{name}/.ssh/known_hosts
cat >/home/{name}/.gitconfig <<'END'
[user]
name = {name}
email = {name}@example.org
[safe]
directory = *
END
git init --quiet --initial-branch=master /home/{name}/work
chown --recursive {name}:{name} /home/{name}
"""
SITE = """\
mkdir -p .salt
cat >.salt/00_page.sls <<'END'
page:
  file.managed:
    - name: {{ cfg.data_root }}/page
    - contents: "{{ cfg.data.get('v', 'none') }}"
END
echo 'makina-projects.hello: {data: {v: default}}' >.salt/PILLAR.sample
"""


@dataclass
class Town:
    """A machine that is set up, and who is on it."""

    there: Machine

    def root(self, script: str, *, check: bool = True) -> Output:
        """Run a script as root."""
        return self.by("root", script, check=check)

    def by(self, name: str, script: str, *, check: bool = False, group: str = "") -> Output:
        """Run a script as somebody, whose first group has the same name where no other is given."""
        done = self.there.run(script, user=name, cwd="/", group=group)
        assert done.code == 0 or not check, (done.stdout + done.stderr).decode()
        return done

    def add(self, name: str, *groups: str, key: str = "") -> None:
        """Make an account, in groups; with `key` (options of `corpus key add`) its ssh key opens."""
        self.root(PERSON.format(name=name, host=NAME))
        for group in groups:
            self.root(f"usermod --append --groups {group} {name}")
        if key:
            self.root(f"corpus key add {name} /home/{name}/.ssh/id_ed25519.pub {key}")

    def push(self, name: str, remote: str, *given: str) -> Push:
        """Push from somebody's working copy: refspecs, and options that begin with a dash."""
        words = " ".join(f"'{each}'" for each in ("--quiet", remote, *given))
        return Push.of(self.by(name, f"cd ~/work && git push {words}"))

    def ref(self, repo: str, ref: str) -> str:
        """Return what a ref of a repository of hello is, or nothing."""
        return self.root(f"git -C /srv/projects/hello/git/{repo}.git rev-parse --quiet --verify {ref} || true").text


@contextlib.contextmanager
def settled(folder: Path) -> Iterator[Town]:
    """Run a machine with two projects, hello and other."""
    with checkout(folder) as made, machine.running(made) as there:
        town = Town(there)
        town.root(INSTALL)
        yield town
