"""The SLS of the restored release that run once more in a roll back, and what they change in the tree."""

from __future__ import annotations

from corpushooks import steps, tree, view
from corpushooks.errors import CorpusError
from corpushooks.site import Run
from corpushooks.text import excerpt, middle, shown

SHOWN = 5  # paths in the terminal
LOGGED = 1000  # and in the log


def reinstall(run: Run, label: str) -> str:
    """Run the restored release's install SLS again, so that services and files elsewhere follow."""
    begun = [step for step in run.site.history.steps(run.deployment) if step.startswith("install ")]
    if not begun or not run.settings.rollback_install or run.row.tree_code is None:
        return ""
    try:
        _install_again(run)
    except CorpusError as exc:
        run.log.write(f"warning: {exc}; the install SLS run once more", more=True)
        _install_once_more(run)
    return ""


def _install_again(run: Run) -> None:
    assert run.release is not None
    for stem in run.release.install():
        steps.run_sls(run, stem, f"      again: {run.hide(stem)}")


def _install_once_more(run: Run) -> None:
    """Run them in another session, since Salt itself may have ended: what was killed lives then."""
    run.close_session()
    try:
        steps.open_session(run)
        _install_again(run)
    except CorpusError as exc:
        run.warn(f"{exc} (after the roll back; what it manages outside project/ may be as it failed)")
        run.close_session()  # it may be over: what follows opens another


def compare(run: Run, label: str) -> str:
    """Say in what project/ is not as the archive has it, after SLS ran that may write there; nothing is undone."""
    if not run.again:
        return ""
    try:
        wrong = tree.differences(run.saved, run.project.tree, run.patience())
    except CorpusError as exc:
        run.warn(f"what ran again may have changed project/: {exc}")
        return ""
    if not wrong:
        return "as in the archive"
    differ = f"{view.count(len(wrong), 'file differs', 'files differ')} from the archive"
    stems = middle(", ".join(map(run.hide, dict.fromkeys(run.again))), view.FITS - 15 - len(differ))
    run.log.write(f"      again: {stems}  {differ}")
    names = [f"        {run.hide(shown(path, view.NAMED))}" for path in wrong]
    for line in excerpt(names, SHOWN):
        run.log.write(line)
    if len(wrong) > SHOWN:
        run.log.write("\n".join(excerpt([f"        {run.hide(shown(path))}" for path in wrong], LOGGED)), more=True)
    return differ
