"""What people have without us: hooks that check out and run Salt, as they are written everywhere."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from corpushooks.system.process import run
from tests.support.box import Work

SALT_CALL = Path(sys.executable).with_name("salt-call")

CHECKOUT = """\
#!/bin/sh
export GIT_WORK_TREE={tree}
git checkout -f master
"""
SALT_CALLS = """\
for sls in {tree}/.salt/*.sls; do
    {salt_call} --local --config-dir {minion} --retcode-passthrough state.sls app.$(basename $sls .sls) || exit 1
done
"""
# One process for a deployment, as the first corpus had it: archive with rsync, check out, then each SLS by state.sls.
ORIGINAL = """\
#!/bin/sh
unset GIT_DIR GIT_QUARANTINE_PATH
exec {python} {script}
"""
SCRIPT = """\
import pathlib, subprocess, time
subprocess.run(["rsync", "-Aa", "--delete", "{tree}/", "{archives}/" + str(time.time_ns()) + "/"], check=True)
subprocess.run(["git", "--git-dir={repo}", "--work-tree={tree}", "checkout", "-f", "master"], check=True)
import salt.client, salt.config
opts = salt.config.minion_config("{minion}/minion")
caller = salt.client.Caller(mopts=opts)
for path in sorted(pathlib.Path("{tree}/.salt").glob("*.sls")):
    told = caller.cmd("state.sls", "app." + path.stem)
    assert isinstance(told, dict) and all(state["result"] is not False for state in told.values()), told
"""


@dataclass
class Rival:
    """A bare repository with a post-receive hook, and a working copy that is pushed to it."""

    folder: Path
    work: Work

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    @classmethod
    def make(cls, folder: Path, files: dict[str, str], kind: str) -> Rival:
        """Make one: its hook is a checkout, salt-calls or the original."""
        repo = folder / "app.git"
        (folder / "tree").mkdir(parents=True)
        run(["git", "init", "--quiet", "--bare", "--initial-branch=master", repo])
        rival = cls(folder, Work(folder / "work", str(repo)))
        run(["git", "init", "--quiet", "--initial-branch=master", rival.work.path])
        rival.work.commit(dict(files))
        names = {
            "tree": rival.tree, "repo": repo, "archives": folder / "archives", "minion": folder / "minion",
            "python": sys.executable, "salt_call": SALT_CALL, "script": folder / "deploy.py",
        }  # fmt: skip
        (folder / "archives").mkdir()
        rival._minion()
        text = ORIGINAL if kind == "original" else CHECKOUT + (SALT_CALLS if kind == "salt-calls" else "")
        (folder / "deploy.py").write_text(SCRIPT.format(**names))
        hook = repo / "hooks/post-receive"
        hook.write_text(text.format(**names))
        hook.chmod(0o755)
        return rival

    def _minion(self) -> None:
        """Configure Salt: the project's files are states, beside each other as ours are."""
        for name in ("minion", "states", "pillar"):
            (self.folder / name).mkdir()
        (self.folder / "states/app").symlink_to(self.tree / ".salt")
        (self.folder / "minion/minion").write_text(
            f"id: bench.example.org\nfile_client: local\nlog_level_logfile: quiet\nroot_dir: {self.folder}/salt\n"
            f"file_roots: {{base: [{self.folder}/states]}}\npillar_roots: {{base: [{self.folder}/pillar]}}\n"
        )

    def push(self) -> None:
        """Push what is committed; the hook must have done its work."""
        pushed = self.work.push()
        assert pushed.code == 0 and "error" not in pushed.text.lower(), pushed.text

    def salt_call(self) -> None:
        """Run one SLS, as a hook would."""
        words = ["--local", "--config-dir", str(self.folder / "minion"), "state.sls", "app.00_state"]
        run([SALT_CALL, *words])


def rsync(source: Path, target: Path) -> None:
    """Copy a tree as the original did."""
    run(["rsync", "-Aa", "--delete", f"{source}/", f"{target}/"])


def emptied(folder: Path) -> Path:
    """Return a folder with nothing in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
