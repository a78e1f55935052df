"""The install SLS of the restored release, run again in a rollback, and what they change in the tree."""

from __future__ import annotations

from corpushooks import tree
from corpushooks.core.errors import CorpusError
from corpushooks.core.events import NOTHING, Detail, Item, SlsBegan, Warned, listed
from corpushooks.core.text import shown
from corpushooks.deploy import steps
from corpushooks.deploy.progress import Mark
from corpushooks.deploy.run import Run
from corpushooks.screen.view import count


def reinstall(run: Run, mark: Mark) -> Detail:
    """Run the restored release's install SLS again, so that services and files elsewhere follow."""
    begun = [step for step in run.site.history.steps(run.deployment) if step.startswith("install ")]
    if not begun or not run.settings.rollback_install or run.row.tree_code is None:
        return NOTHING
    try:
        _install_again(run)
    except CorpusError as exc:
        run.voice.tell(Warned(f"{exc}; running the install SLS once more", aside=True))
        _install_once_more(run)
    return NOTHING


def _install_again(run: Run) -> None:
    assert run.salt.release is not None
    for stem in run.salt.release.install():
        steps.run_sls(run, SlsBegan(stem, "again"))


def _install_once_more(run: Run) -> None:
    """Run them in a new session, since Salt itself may have ended."""
    run.salt.close()
    try:
        steps.open_session(run)
        _install_again(run)
    except CorpusError as exc:
        run.voice.warn(f"{exc} (after the rollback; what it manages outside project/ may still be in the failed state)")
        run.salt.close()  # it may have ended: the next user opens another


def compare(run: Run, mark: Mark) -> Detail:
    """Report how project/ differs from the archive after SLS ran that can write there; nothing is undone."""
    if not run.salt.again:
        return NOTHING
    try:
        wrong = tree.differences(run.saved, run.project.tree, run.deadline.patience())
    except CorpusError as exc:
        run.voice.warn(f"SLS that ran again may have changed project/: {exc}")
        return NOTHING
    if not wrong:
        return Detail(note="as in the archive")
    run.voice.tell(
        listed("differs", [Item(shown(path)) for path in wrong], about=", ".join(dict.fromkeys(run.salt.again)))
    )
    return Detail(note=f"{count(len(wrong), 'file differs', 'files differ')} from the archive")
