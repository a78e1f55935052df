"""All checks of a release before it runs: `contents` reads its files, `checks` judges them.

`corpus check`, a plan and a deployment report the same findings.
"""

from __future__ import annotations

import functools
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from corpushooks import git
from corpushooks.checks import keys, packages, sent, states, texts
from corpushooks.checks.finding import Finding, ordered
from corpushooks.core.errors import ConfigError, CorpusError, RefusedError, SaltError, SourceError
from corpushooks.core.hints import Hint, command
from corpushooks.core.project import Project
from corpushooks.core.redaction import Redactor
from corpushooks.core.settings import Settings
from corpushooks.core.text import clean, shown
from corpushooks.release import assigned, commits, release
from corpushooks.release import keys as cfg_keys
from corpushooks.release.contents import Texts, named, read
from corpushooks.release.release import SAMPLE, Release
from corpushooks.salt import STATES, Compiled, Engine, Planned, Problem, Session, id_line, key_line, unsupported
from corpushooks.system import apt

PILLAR_LIMIT = 60.0  # seconds for compiling a pushed pillar
PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


# findings


def of_problem(found: Release, problem: Problem) -> Finding:
    """Return a problem found by Salt as a finding."""
    return Finding(problem.kind, named(found, Path(problem.file)), problem.line, problem.brief)


def static(found: Release, read_: Texts) -> list[Finding]:
    """Check the text of the files of a release, without rendering them."""
    said = list(read_.wrong.values())
    for path, text in read_.run_by(found).items():
        said += packages.doubled(path, text) + texts.resetperms(path, text) + _absent(found, path, text)
    said += of_given(read_)
    said += sent.of_commit(dict.fromkeys(read_.contents, stat.S_IFREG), {}, found.environment)
    return [*said, *unread(found, read_)]


def _absent(found: Release, path: str, text: str) -> list[Finding]:
    """Return findings for missing files that a text includes, or copies from salt://."""
    said, project = [], found.project.name
    own = f"makina-projects.{project}."
    for line, name in texts.includes(text, project):
        if name.startswith(own) and not _is_sls(found.states, name.removeprefix(own)):
            said.append(Finding("missing", path, line, f"included SLS {name} does not exist"))
        elif name.startswith("makina-states.") and not _is_sls(STATES, name):
            said.append(Finding("missing", path, line, unsupported(name)))
    for line, name in texts.sources(text, project):
        inner = name.removeprefix(f"makina-projects/{project}/")
        if inner != name and not (found.states / inner).exists():
            said.append(states.missing(path, line, name))
    return said


def _is_sls(root: Path, name: str) -> bool:
    stem = root / name.replace(".", "/")
    return (stem / "init.sls").is_file() or stem.with_name(f"{stem.name}.sls").is_file()


def unread(found: Release, read_: Texts, *, sample: bool = True) -> list[Finding]:
    """Return findings for keys of the sample and the pillar that nothing reads."""
    name, defaults, pillar = found.project.name, f".salt/{SAMPLE}", "pillar/init.sls"
    builtin = cfg_keys.builtin(
        found.project, found.environment, minion_id="", fqdn="", archive_dir=Path(), chrono=""
    )  # fmt: skip
    data = keys.data_keys(read_.text(defaults))
    has_code = any(path.startswith(".salt/") for path in read_.contents)  # otherwise the readers are unknown
    readers = keys.Readers(name, builtin.keys(), read_.words.__contains__ if has_code else _anything, data)
    said = []
    for path, any_project in ((defaults, True), (pillar, False)) if sample else ((pillar, False),):
        if path in read_.contents and path not in read_.wrong:
            said += keys.unread(path, read_.text(path), readers, any_project=any_project)
    given = f"pillar/{assigned.FILE}"
    return said + (keys.unread_data(given, read_.text(given), readers) if _is_given(read_) else [])


def _is_given(read_: Texts) -> bool:
    return assigned.is_ours(read_.contents.get(f"pillar/{assigned.FILE}", b""))


def of_given(read_: Texts) -> list[Finding]:
    """Return findings for the file of `corpus set`."""
    path = f"pillar/{assigned.FILE}"
    if path in read_.contents and not _is_given(read_):
        return [Finding("unread", path, None, f"it is ignored: it does not begin with {assigned.FIRST!r}")]
    try:
        assigned.load(read_.contents.get(path))
    except ConfigError as exc:
        return [of_error(exc, path)]
    return []


def literal_names(found: Release, read_: Texts) -> set[str]:
    """Return the names of packages written literally in SLS files."""
    written = read_.run_by(found).values()
    return packages.asked(each.name for text in written for each in packages.declared(text))


def _anything(word: str) -> bool:
    return True


def packaged(
    found: Release, read_: Texts, rendered: Mapping[str, Sequence[states.Rendered]], lists: apt.Lists, *,
    literal: bool = True,
) -> list[Finding]:  # fmt: skip
    """Return findings for packages that are unavailable on this host, with one call of apt.

    Without `literal` only for names computed by Jinja: the others were checked before.
    """
    every = [state for several in rendered.values() for state in several]
    written = {path: packages.declared(text) for path, text in read_.run_by(found).items()}
    known_names = {each.name for several in written.values() for each in several}
    names = {name for _, name, _ in states.packages(every)}
    names = names | known_names if literal else names - known_names
    if not names:
        return []
    known = lists.candidates(packages.asked(names))
    sure = not packages.adds_sources([*read_.sls.values(), *(str(state.arguments) for state in every)])
    if not literal:
        return list(states.installed(every, known, sure=sure, among=names))
    said: list[Finding | None] = [*states.installed(every, known, sure=sure, among=names)]
    for path, several in written.items():
        shown = {name for _, name, _ in states.packages(rendered.get(path, ()))}
        aside = texts.guarded(read_.text(path))
        for each in several:
            if each.name not in shown and not (each.conditional and path in rendered):
                always = sure and not each.conditional and each.line not in aside
                said.append(packages.judged(path, each.line, each.name, known, sure=always))
    return [finding for finding in said if finding]


def compiled(
    found: Release, read_: Texts, told: Mapping[Path, Compiled], lists: apt.Lists, *, literal: bool = True
) -> list[Finding]:
    """Check the compiled SLS files of a release; without `literal`, only what `static` did not see."""
    rendered = {named(found, path): _rendered(found, read_, path, each.states) for path, each in told.items()}
    every = [state for several in rendered.values() for state in several]
    said = [of_problem(found, problem) for each in told.values() for problem in each.problems]
    literal_ = {(each.file, each.what) for path, text in read_.sls.items() for each in packages.doubled(path, text)}
    said += [each for each in states.doubled(every) if (each.file, each.what) not in literal_]
    said += [*states.certificates(every), *states.left_out(every)]
    said += states.sources(every, lambda name: any((root / name).exists() for root in (*found.state_roots, STATES)))
    brought = {name.partition(":")[0] for _, name, _ in states.packages(every)}
    brought |= {each.name for text in read_.sls.values() for each in packages.declared(text)}
    brought |= {successor for name in brought if (successor := packages.successor(name))}
    said += states.commands(every, lambda name: bool(shutil.which(name, path=PROGRAMS)), brought)
    for path, each in told.items():
        said += _not_run_findings(named(found, path), each)
    return [
        *said,
        *packaged(
            found, read_, {path: several for path, several in rendered.items() if several}, lists, literal=literal
        ),
    ]


def _not_run_findings(path: str, told: Compiled) -> Iterator[Finding]:
    for line, words in told.commands:
        what = f"Jinja would run {clean(' '.join(words.split()))[:80]!r}: not run here, its output counts as empty"
        yield Finding("not-run", path, line, what, "use a state, which runs in order")


def _rendered(found: Release, read_: Texts, path: Path, planned: Iterable[Planned]) -> list[states.Rendered]:
    """Return states with file and line; for our own files, where they are included."""
    made = []
    for each in planned:
        own = _source(found, each.sls, path)
        file = named(found, own)
        text = read_.text(file)
        line = id_line(text, each.id) or _find(text, each.sls, 0)
        place = functools.partial(_find, text, after=(line or 1) - 1)
        made.append(states.Rendered(each.id, each.function, each.arguments, file, line, place))
    return made


def _source(found: Release, sls: str, path: Path) -> Path:
    """Return the file of an SLS of this project; for others, the file that includes it."""
    inner = sls.removeprefix(f"makina-projects.{found.project.name}.")
    if inner == sls:
        return path
    stem = found.states / inner.replace(".", "/")
    options = (stem.with_name(f"{stem.name}.sls"), stem / "init.sls")
    return next((option for option in options if option.is_file()), path)


def _find(text: str, name: str, after: int = 0) -> int | None:
    """Return the first line after `after` that has a name as a word, else the first of all."""
    word = re.compile(rf"(?<![\w.+-]){re.escape(name)}(?![\w+-])")
    lines = [number for number, line in enumerate(text.splitlines(), 1) if word.search(line)]
    return next((number for number in lines if number > after), lines[0] if lines else None)


def carried(found: Release, read_: Texts, odd: Iterable[tuple[str, str, str]]) -> list[Finding]:
    """Return findings for values that became text in the cfg, since JSON has no type for them."""
    said = []
    for where, key, what in odd:
        file = f".salt/{SAMPLE}" if where == "sample" else "pillar/init.sls"
        short = re.sub(r"^makina-(projects|states)\.[^.]+\.", "", key)
        line = key_line(read_.text(file), key.rpartition(".")[2])
        said.append(Finding("value", file, line, f"{short} is {what}; it becomes text in cfg", "quote it"))
    return said


# a pillar


def check_pillar(project: Project, environment: str, settings: Settings, engine: Engine, commit: str) -> list[Finding]:
    """Check a commit of pillar.git; return its findings, raise RefusedError for errors."""
    names = git.folder(commits.check_pillar_commit(project.pillar_git, commit), "") or {}
    if "init.sls" not in names:
        code = f"this looks like the project's code: push it to project.git (over ssh: {project.name})"
        hint = code if ".salt" in names else Hint("add init.sls: ", command("help", "first-project"))
        raise RefusedError("the pillar has no init.sls", hint)
    with tempfile.TemporaryDirectory(prefix="pillar-", dir=release.scratch(project)) as folder:
        found = release.candidate(project, environment, Path(folder), None, commit)
        redactor = release.redactor_of(settings)
        release.look_for_secrets(found, redactor)
        texts_ = read(found)
        beside = read(replace(found, salt=project.stage / ".salt"))  # its readers
        said = [
            *texts_.wrong.values(),
            *of_given(texts_),
            *unread(found, Texts({**beside.contents, **texts_.contents}), sample=False),
        ]
        if not texts_.wrong:
            with engine.session(found.minion(settings), release.Unheard(redactor)) as session:
                said += _compiled_pillar(session, found)
        said = cleared(said, redactor)
    for finding in said:
        if finding.is_error:
            help_ = f"{finding.help}: " if finding.help else ""
            raise RefusedError(str(finding), hint=f"{help_}nothing was stored; fix it and push again")
    return said


def _compiled_pillar(session: Session, found: Release) -> list[Finding]:
    """Return the first error of a pillar, or nothing."""
    pillar = found.pillar / "init.sls"
    if problems := session.syntax([pillar]):
        return [of_problem(found, problems[0])]
    try:
        session.facts(None, timeout=PILLAR_LIMIT)
    except SaltError as exc:
        return [of_error(exc, "pillar/init.sls")]
    return []


def of_error(exc: CorpusError, file: str) -> Finding:
    """Return an error in a file as a finding, with its line if known."""
    if isinstance(exc, SourceError) and exc.at:
        return Finding("config", file, exc.at.line, exc.what)
    if isinstance(exc, ConfigError):
        return Finding("config", file, exc.line, exc.inner if exc.where else exc.what)
    return Finding("config", file, None, exc.message)


# for display


def cleared(findings: Iterable[Finding], redactor: Redactor) -> list[Finding]:
    """Return findings in order, redacted and safe for a terminal."""
    return ordered(
        replace(
            each,
            file=shown(each.file),
            what=_printable(redactor.redact(each.what)),
            help=_printable(redactor.redact(each.help)),
        )
        for each in findings
    )


def _printable(text: str) -> str:
    return "\n".join(clean(line) for line in text.splitlines())


def of_tree(entries: git.Listing, contents: Mapping[str, str], environment: str) -> list[Finding]:
    """Check the tree of a commit: submodules, links, filters, names."""
    return sent.of_commit({path: mode for mode, _, path in entries}, contents, environment)
