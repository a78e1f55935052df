"""Check projects and plain folders without deploying them: every file is read and compiled; no state runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from corpushooks import git
from corpushooks import tree as trees
from corpushooks.checks import sent
from corpushooks.checks.finding import Finding, errors
from corpushooks.core import claims
from corpushooks.core.deployment import ProjectRow, Request
from corpushooks.core.errors import ConfigError, CorpusError, GitError, SourceError, UsageError
from corpushooks.core.hints import command
from corpushooks.core.project import NAME, NAME_LIMIT, Host
from corpushooks.core.redaction import Redactor
from corpushooks.core.settings import Settings
from corpushooks.core.text import shown
from corpushooks.host import claiming
from corpushooks.host.site import Site, open_site
from corpushooks.release import assigned, commits, contents, edits, release, survey
from corpushooks.release import cfg as release_cfg
from corpushooks.release.config import Cfg
from corpushooks.release.paths import strays
from corpushooks.release.release import Release, Unheard
from corpushooks.reports import inspection
from corpushooks.salt import Session, text_of
from corpushooks.system import apt


@dataclass(frozen=True)
class Checked:
    """The findings for a project, and its files in the order they are read."""

    target: str
    files: tuple[str, ...]
    findings: tuple[Finding, ...]

    def wrong(self, *, strict: bool = False) -> bool:
        return any(each.is_error or strict for each in self.findings)

    def by_file(self) -> dict[str, list[Finding]]:
        """Return all files, also those without findings, with the findings of each."""
        found: dict[str, list[Finding]] = {file: [] for file in self.files}
        for each in self.findings:
            found.setdefault(each.file, []).append(each)
        return found


def check_project(site: Site, row: ProjectRow, folder: Path) -> Checked:
    """Check each file in the branch and the pillar of a project."""
    project = site.host.project(row.name)
    head = f"refs/heads/{row.branch}"
    code = git.ref(project.code_git, head)
    if code is None and row.code:
        raise GitError(f"{project.code_git} has no {row.branch}", hint=command("doctor"))
    if code is None:
        raise UsageError(f"{row.name} has no {row.branch} yet", hint="git push first")
    try:
        entries = git.listing(project.code_git, code)
        said = survey.of_tree(entries, git.attributes(project.code_git, code, entries), row.environment)
        commits.check_commit(project, row.environment, code, Request(), entries)
        pillar = git.ref(project.pillar_git, head)
        commits.check_paths(project.code_git, code, entries)
        if pillar:
            commits.check_pillar_commit(project.pillar_git, pillar)
        found = release.candidate(project, row.environment, folder, code, pillar)
        return _check(site, row, found, row.name, said, apt.Lists())
    except CorpusError as exc:
        return Checked(row.name, (), (Finding("name", ".salt", None, exc.message, site.spell(exc.hint)),))
    finally:
        site.engine.close()


def check_folders(trees_: Sequence[Path], environment: str, folder: Path) -> Iterator[Checked]:
    """Check the .salt of plain folders; no project is needed."""
    site, lists = open_site(Host(folder / "host")), apt.Lists()
    site.engine.warm()  # it loads while we read
    try:
        for number, tree in enumerate(trees_):
            try:
                yield _check_folder(site, tree, environment, folder / str(number), lists)
            except CorpusError as exc:
                if len(trees_) == 1:
                    raise
                yield Checked(str(tree), (), (Finding("name", ".salt", None, exc.message, site.spell(exc.hint)),))
    finally:
        site.engine.close()


def _check_folder(site: Site, tree: Path, environment: str, folder: Path, lists: apt.Lists) -> Checked:
    salt = tree / ".salt"
    said = _unsent_findings(tree, environment)
    if salt.is_symlink() or not salt.is_dir():
        if said := [each for each in said if each.file == ".salt" and each.is_error]:
            return Checked(str(tree), (), tuple(said))
        raise UsageError(f"{tree} has no .salt folder", hint="add .salt/00_install.sls")
    if out := _links_out(tree):
        return Checked(
            str(tree), (), tuple(Finding("name", ".salt", None, text, "put the file itself") for text in out)
        )
    project = site.host.project(_name_in(salt / release.SAMPLE))
    (folder / "pillar").mkdir(parents=True)
    row = ProjectRow(project.name, environment, "master", 0.0)
    found = release.beside(project, environment, folder / "trees", salt, folder / "pillar")
    beside = [*found.states.iterdir(), found.salt / release.SAMPLE]
    named = commits.flaws({path.name: path.is_symlink() for path in beside})
    said += [Finding("name", ".salt", None, message, hint) for message, hint in sorted(named)]
    return _check(site, row, found, str(tree), said, lists)


def _unsent_findings(tree: Path, environment: str) -> list[Finding]:
    """Check what git would send of a folder."""
    known = git.worktree(tree, ".salt")
    if known is None:
        mode = git.LINK if (tree / ".salt").is_symlink() else 0
        return sent.of_commit({".salt": mode}, {}, environment)
    if known.prefix:
        what = f"this folder is {shown(known.prefix)} in its repository; only the .salt at the top is deployed"
        return [Finding("unsent", ".salt", None, what, "make it a repository of its own")]
    own = [path for path in known.modes if path.rpartition("/")[2] == ".gitattributes"]
    attributes = {path: text_of(tree / path) for path in own if not (tree / path).is_symlink()}
    modes = {path: known.modes[path] for path in known.modes}
    if (tree / ".salt").is_symlink():
        modes[".salt"] = git.LINK
    there = sent.Sent(modes, _edits(known.untracked), _edits(known.ignored), _edits(known.changed))
    return [*sent.of_commit(modes, attributes, environment), *sent.of_folder(there)]


def _edits(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Return paths without temporary files of editors and Python."""
    return tuple(path for path in paths if not edits.is_dropping(PurePosixPath(path)))


def _name_in(sample: Path) -> str:
    """Return the project name in a PILLAR.sample, since modules and files use it; else a default."""
    text = (contents.bytes_of(sample) or b"").decode(errors="replace")
    found = re.search(r"^[\"']?makina-projects\.([\w-]+)", text, re.M)
    return found[1] if found and NAME.fullmatch(found[1]) and len(found[1]) <= NAME_LIMIT else "project"


def _links_out(folder: Path) -> list[str]:
    """Return errors for links that lead out of a plain folder from its .salt, as `check_links` does for a commit."""
    if all(entry.kind != "link" for _, entry in trees.scan(folder / ".salt").entries):
        return []
    links = {path: entry.target for path, entry in trees.scan(folder).entries if entry.kind == "link"}
    return [f"{shown(path, 100)} is a link that leads out of the folder" for path in strays(links, ".salt/")]


@dataclass(frozen=True)
class _Work:
    """A release to check, with what the check needs."""

    site: Site
    found: Release
    settings: Settings
    redactor: Redactor
    texts: contents.Texts
    lists: apt.Lists


def _check(
    site: Site, row: ProjectRow, found: Release, target: str, said: Sequence[Finding], lists: apt.Lists
) -> Checked:
    """Check every file of a release; if syntax and cfg are right, compile each SLS with Salt, running none."""
    settings = site.settings_of(row)
    work = _Work(site, found, settings, release.redactor_of(settings), contents.read(found), lists)
    if errors(work.texts.unusable.values()):  # Salt would block on them, or read them completely
        said = [*said, *survey.static(found, work.texts)]
    elif found.install():
        lists.ask_ahead(survey.literal_names(found, work.texts))
        with site.engine.session(found.minion(settings), Unheard(work.redactor)) as session:
            said = [*said, *_text_findings(session, work)]
    else:
        said = [*said, Finding("name", ".salt", None, "no install SLS in .salt", "add .salt/00_install.sls")]
    files = tuple(shown(contents.named(found, path)) for path in release.files(found))
    return Checked(target, files, tuple(survey.cleared(said, work.redactor)))


def _text_findings(session: Session, work: _Work) -> list[Finding]:
    """Return the findings in the text of a release, and in its compiled SLS files."""
    session.prepare()
    problems = release.syntax(session, work.found, work.redactor, contents.readable(work.found, work.texts))
    said = [*survey.static(work.found, work.texts), *(survey.of_problem(work.found, each) for each in problems)]
    return [*said, *_compiled(session, work, {each.file for each in said if each.sort.unreadable})]


def _compiled(session: Session, work: _Work, wrong: set[str]) -> list[Finding]:
    """Compile the SLS files without errors so far, if there is a cfg."""
    found, texts, lists = work.found, work.texts, work.lists
    beside = {f".salt/{release.SAMPLE}", "pillar/init.sls", f"pillar/{assigned.FILE}"}
    if wrong & beside:
        return survey.packaged(found, texts, {}, lists)  # without a cfg the others cannot be compiled
    try:
        cfg = _give_cfg(session, work)
        odd = [*survey.carried(found, texts, cfg.odd), *_claim_finding(work, cfg)]
    except CorpusError as exc:
        return [_cfg_finding(exc), *survey.packaged(found, texts, {}, lists)]
    paths = [path for path in release.files(found) if path.is_relative_to(found.states) and path != found.sample]
    # Salt reads a dot in the name as a folder
    read = [path for path in paths if contents.named(found, path) not in wrong and "." not in path.stem]
    told = session.compile([found.project.sls_id(path.stem) for path in read])
    return [*odd, *survey.compiled(found, texts, dict(zip(read, told, strict=True)), lists)]


def _give_cfg(session: Session, work: _Work) -> Cfg:
    """Compute the cfg of a release that is not deployed, give it to the session and return it."""
    layers = inspection.layers(work.site, session, work.settings, work.found, work.redactor)
    given = release_cfg.cfg_of(layers, work.found, work.settings)
    session.configure(given.values, given.sample_defaults, given.above)
    return given


def _claim_finding(work: _Work, cfg: Cfg) -> list[Finding]:
    """Return a finding for a port or address that belongs to another project of this host."""
    wanted = claims.of(cfg.values)
    refused = claiming.refusal(work.site, work.found.project, cfg.values, wanted, look=False)
    return (
        [Finding("claim", f".salt/{release.SAMPLE}", None, refused.message, work.site.spell(refused.hint))]
        if refused
        else []
    )


def _cfg_finding(exc: CorpusError) -> Finding:
    """Return why a cfg cannot be computed, with the file if known."""
    first = str(exc.where[0]) if isinstance(exc, ConfigError) and exc.where else ""
    if isinstance(exc, SourceError) and exc.at:
        first = exc.at.file
    files = {
        release.SAMPLE: f".salt/{release.SAMPLE}",
        "init.sls": "pillar/init.sls",
        "pillar": "pillar/init.sls",
        assigned.FILE: f"pillar/{assigned.FILE}",
        assigned.LAYER: f"pillar/{assigned.FILE}",
        "cfg": "cfg",
    }
    if first not in files:  # the message names its layer or file
        return Finding("config", "cfg", None, exc.message)
    return survey.of_error(exc, files[first])
