"""The house: which module may import which, and who alone may touch what."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import corpushooks
from corpushooks.cli.commands import whole
from corpushooks.cli.main import corpus
from corpushooks.operations.ssh_commands import WORDS
from tests.support.places import TOP

PACKAGE = Path(corpushooks.__file__).parent
HOOK = PACKAGE.parent / "hooks/proc-receive"

# What a wing holds is said in its __init__. A wing imports from wings of lower ranks, never from one of its own.
RANKS = (
    "core",  # values without effects
    "system",  # the kernel and programs
    "git tree salt store protocol",  # doors, what outlives the daemon, what goes over its socket
    "checks host access screen",
    "release notify backup",
    "deploy reports admin",
    "fleet",  # several machines
    "operations",  # all that can be asked
    "daemon",
    "web",  # the table, asked over HTTP
    "cli",
    "shell __main__",  # what is started
)
BESIDE = {"makina": {"core", "system", "tree"}}  # what SLS files call: nothing of ours imports it, this is what it may
RANK = {wing: rank for rank, wings in enumerate(RANKS) for wing in wings.split()}
DOORS = {"git", "tree", "salt"}  # entered by their __init__ only
ALONE = "salt_worker"  # runs under another interpreter, with nothing of ours
STANDARD = ("system.safe_files", "system.sockets", "system.become")  # Salt loads two of them, one is a program

ONLY_IN = {  # what is outside -> the modules that may import it
    "subprocess": {"system.process", "salt_worker.commands", "salt_worker.known", "salt_worker.runner"},
    "multiprocessing": set(),
    "sqlite3": {"store.database"},
    "ldap3": {"access.ldap"},
    "salt": {"salt_worker."},
    "dulwich": {"git."},
    "watchdog": {"system.watch"},
    "apprise": {"notify.send"},
    "argon2": {"access.proof"},
    "authlib": {"access.oidc"},
    "joserfc": {"access.oidc"},
    "rich": {"cli.tables"},
    "starlette": {"web."},
    "uvicorn": {"web.server"},
    "msgspec": {"core.records"},
}
NOT_OURS_TO_IMPORT = ("salt/loader", "salt/node", "makina/loader", "makina/extension", "makina/states", "share")
LOADER = sorted(path for folder in NOT_OURS_TO_IMPORT[:4] for path in (PACKAGE / folder).rglob("*.py"))
FILES = [
    path
    for path in PACKAGE.rglob("*.py")
    if not any(path.is_relative_to(PACKAGE / folder) for folder in NOT_OURS_TO_IMPORT) and path.parent != PACKAGE
] + [PACKAGE / "shell.py", PACKAGE / "__main__.py"]
MODULES = sorted(".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__") for path in FILES)
WORKER = {name for name in MODULES if name.partition(".")[0] == ALONE}


@pytest.fixture(autouse=True, scope="module")
def forgotten() -> Iterator[None]:
    """Let go of what was parsed: two hundred megabytes."""
    yield
    parsed.cache_clear()


@functools.cache
def parsed(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def source(name: str) -> Path:
    path = PACKAGE / name.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted name of everything a file imports, wherever in it."""
    for node in parsed(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level or path.parent.name == "salt_worker", f"{path}: a relative import"
            near = f"corpushooks.{ALONE}." if node.level else ""
            yield from (f"{near}{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def ours(path: Path) -> set[str]:
    """Return the modules of the package that a file imports."""
    found = set()
    for words in (name.split(".") for name in imports(path)):
        if words[0] == "corpushooks" and words[1] != "__version__":
            known = [".".join(words[1:end]) for end in range(len(words), 1, -1)]
            found.add(next((name for name in known if name in MODULES), words[1]))
    return found


def wing(name: str) -> str:
    return name.partition(".")[0]


def outside(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)} - {"corpushooks", ""}


def test_a_wing_imports_from_lower_ranks() -> None:
    for name in MODULES:
        check_imports(name)


def check_imports(name: str) -> None:
    own = wing(name)
    others = {other for other in ours(source(name)) if wing(other) != own}
    if own == ALONE:
        assert not others, name
        return
    if own in BESIDE:
        assert set(map(wing, others)) <= BESIDE[own], name
        return
    assert own in RANK, f"give {own} a rank in RANKS"
    above = {other for other in others if RANK.get(wing(other), len(RANKS)) >= RANK[own]}
    assert not above, f"{name} imports from above, or sideways"
    past = {other for other in others if wing(other) in DOORS and "." in other}
    assert not past, f"{name} enters {past} past the door"


WEB = {"operations.table", "operations.routes"}  # of what does operations: a second judge would be one too many


def test_the_web_knows_what_can_be_asked_and_not_how_it_is_done() -> None:
    for name in (name for name in MODULES if wing(name) == "web"):
        others = {other for other in ours(source(name)) if wing(other) not in ("web", "core", "protocol", "screen")}
        assert others <= WEB, name


def test_each_wing_says_what_is_in_it() -> None:
    for name in {wing(name) for name in MODULES} - {"shell", "__main__", "salt_worker"}:
        told = ast.get_docstring(ast.parse(source(name).read_text())) or ""
        parts = {each.removeprefix(f"{name}.").partition(".")[0] for each in MODULES if each.startswith(f"{name}.")}
        assert not [part for part in parts if not re.search(rf"\b{part}\b", told)], name


def test_the_root_has_what_must_start_fast() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py", "shell.py"}


def test_no_imports_go_round() -> None:
    graph = {name: ours(source(name)) for name in MODULES}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(MODULES)  # raises CycleError


def test_each_outside_thing_has_one_owner() -> None:
    for name in MODULES:
        may = {name, f"{wing(name)}."}
        foreign = [thing for thing in outside(source(name)) if not may & ONLY_IN.get(thing, may)]
        assert not foreign, f"{name} imports {foreign}"


def test_what_stands_alone_imports_nothing_of_ours() -> None:
    for path in (HOOK, *map(source, WORKER), *LOADER, *map(source, STANDARD)):
        assert not {name for name in ours(path) if wing(name) != ALONE}, path
    assert outside(HOOK).union(*map(outside, map(source, STANDARD))) <= sys.stdlib_module_names
    for name in WORKER:
        assert outside(source(name)) - {"salt", "jinja2"} <= sys.stdlib_module_names, name


def test_the_hook_imports_little_at_once() -> None:
    begins = [node for node in ast.parse(HOOK.read_text()).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [alias.name for node in begins for alias in node.names] == ["os", "_json", "_socket"]


PRINTING = {name for name in MODULES if wing(name) == "cli" and name not in ("cli.projects", "cli.pages")} | {
    "shell", "makina.resetperms", "system.become", *WORKER,
}  # fmt: skip
ENDING = {"print", "exit", "quit", "sys.exit", "sys.stdout.write", "sys.stderr.write", "click.echo"}
FORKING = {"os.fork", "os.forkpty", "os.system", "os.popen", "os.execv", "os.execve", "os.execvp", "os.posix_spawn"}
ALSO_FORKING = {"system.become"}  # a program with one thread, which the daemon starts


@functools.cache
def calls(path: Path) -> set[str]:
    return {ast.unparse(node.func) for node in parsed(path) if isinstance(node, ast.Call)}


def test_only_the_entry_prints_and_exits() -> None:
    for name in (name for name in MODULES if name not in PRINTING):
        assert not calls(source(name)) & ENDING, name


def test_only_the_worker_forks_and_nobody_asks_a_shell() -> None:
    for name in (name for name in MODULES if name not in WORKER | ALSO_FORKING):
        assert not calls(source(name)) & FORKING, name
        words = [word for node in parsed(source(name)) if isinstance(node, ast.Call) for word in node.keywords]
        assert not [word for word in words if word.arg == "shell"], name


def wide_handlers(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, line) of each handler of every exception that does not raise it again."""
    lines = path.read_text().splitlines()
    for node in parsed(path):
        if isinstance(node, ast.ExceptHandler):
            caught = {"Exception"} if node.type is None else {ast.unparse(n) for n in ast.walk(node.type)}
            again = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
            if caught & {"Exception", "BaseException"} and not again:
                yield node.lineno, lines[node.lineno - 1]


EDGES = {
    "access.oidc",
    "cli.main", "daemon.server", "daemon.overdue", "daemon.pulse", "deploy.deploy", "deploy.lanes", "deploy.watches",
    "fleet.catch_up", "fleet.drive", "fleet.requests", "fleet.rollout",
    "notify.send", "system.patience", "salt_worker.bus", "salt_worker.session", "salt_worker.question",
}  # fmt: skip


def test_everything_is_caught_at_the_edges_only() -> None:
    for path in [*map(source, MODULES), HOOK, *LOADER]:
        inside = path.is_relative_to(PACKAGE)
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts) if inside else path.name
        for number, line in wide_handlers(path):
            assert name in EDGES and "edge" in line, f"{name}:{number} catches everything"


def test_the_rules_can_be_broken(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(
        "import salt.state\nfrom corpushooks import cli\nfrom corpushooks.deploy.steps import sync\n"
        "def f():\n    import subprocess\n    try:\n        print(os.system('x'))\n    except (OSError, Exception):\n"
        "        pass\n"
    )
    assert ours(bad) == {"cli", "deploy.steps"}
    assert outside(bad) == {"salt", "subprocess"}
    assert calls(bad) == {"print", "os.system"}
    assert [number for number, _ in wide_handlers(bad)] == [8]


TESTS = sorted(path for path in TOP.glob("tests/**/*.py") if path.name.startswith(("test_", "walk_")))


def test_no_test_imports_from_another() -> None:
    for path in TESTS:
        names = [name for name in imports(path) if name.startswith("tests.")]
        wrong = [name for name in names if re.search(r"\.(test|walk)_\w+", name)]
        assert not wrong, f"{path}: what tests share is in tests/support"


TAKING_APART = {"split", "rsplit", "splitlines", "partition", "rpartition", "startswith", "endswith", "removeprefix"}
READING = {  # what others say, who have no fields: Salt, git, PyYAML, apprise
    "salt.problems": "Salt", "core.settings": "PyYAML", "notify.send": "apprise", "access.ldap": "ldap3",
}  # fmt: skip


def of_an_error(node: ast.AST) -> bool:
    """Say whether an expression is the text of an error: exc.message, exc.hint, str(exc)."""
    text = ast.unparse(node)
    return bool(re.search(r"\.(message|hint)\b|\bstr\((exc|error|wrong|failed|refused)\)", text))


def taken_apart(path: Path) -> Iterator[int]:
    """Yield the line of each place that reads the text of an error for what it is about."""
    for node in parsed(path):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            asked = [node.func.value] if node.func.attr in TAKING_APART else []
            given = node.args if ast.unparse(node.func.value) == "re" else []
            if any(map(of_an_error, [*asked, *given])):
                yield node.lineno


def test_nothing_is_read_out_of_the_text_of_an_error() -> None:
    for name in (name for name in MODULES if name not in READING):
        assert not list(taken_apart(source(name))), f"{name}: an error has fields, see ConfigError"


def test_a_text_that_is_taken_apart_is_found(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(
        "def f(exc):\n    exc.message.split(': ')\n    re.search('x', exc.message)\n    str(exc).partition(':')\n"
    )
    assert list(taken_apart(bad)) == [2, 3, 4]


def kinds_compared(path: Path) -> Iterator[int]:
    """Yield the line of each place that compares the kind of a request, or of what came of one, with a name."""
    for node in parsed(path):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            named = any(isinstance(each, ast.Constant) for side in sides for each in ast.walk(side))
            if named and any(re.search(r"\brequest\.kind$", ast.unparse(side)) for side in sides):
                yield node.lineno


def test_a_kind_is_asked_what_it_means() -> None:
    for name in MODULES:
        assert not list(kinds_compared(source(name))), f"{name}: its row in KINDS says what it means: request.sort"


def test_a_kind_that_is_compared_is_found(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(
        "A = run.request.kind == 'plan'\nB = request.kind in ('a', 'b')\nC = request.kind in KINDS\n"
        "D = entry.kind == 'file'\n"
    )
    assert list(kinds_compared(bad)) == [1, 2]


NAMED = {  # texts that name a command and are not there to be pasted: module -> what these begin with
    "release.assigned": ("corpus set", '# Written by "corpus set"', ' and "corpus unset"'),  # who writes a file
    "operations.assigning": (" was not set by corpus set",),
    "reports.variables": (" in pillar.git was not written by corpus set",),
    "access.authorized_keys": ("# corpushooks: keys below are written by `corpus key`",),
    "checks.states": ("see: corpus help makina-states",),  # a page is the same on every host
    "cli.looking": ("List commands run with `corpus run`",),  # help
    "cli.demo": ("\n    corpus status ",),  # by an alias of its own
    "reports.statistics": ("Missing or damaged files",),  # the help of a metric
    "reports.inspection": ("corpus init --env",),  # the origin of a value
    "core.settings": (
        "How many commands of `corpus run`",
        "The account of `corpus web`",
        "The provider of OpenID Connect",
        "The directory for auth: ldap",
        "The repository of backups",
        "How a project with several nodes",
    ),
    "salt.problems": ("; see: corpus help makina-states",),
}


def commands_in(path: Path, known: Collection[str]) -> Iterator[tuple[int, str]]:
    """Yield the line of each text in a file that has a command in it: `corpus`, and a word that it knows."""
    command = re.compile(rf"\bcorpus (?:(?:{'|'.join(map(re.escape, known))})\b|$)")
    nodes = parsed(path)
    docs = {id(node.body[0].value) for node in nodes if isinstance(node, DOCUMENTED) and is_text(node.body[:1])}
    for node in nodes:
        text = node.value if isinstance(node, ast.Constant) and id(node) not in docs else None
        if isinstance(text, str) and command.search(text):
            yield node.lineno, text


DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def is_text(body: Sequence[ast.stmt]) -> bool:
    return bool(body) and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)


def flattened(path: Path) -> Iterator[int]:
    """Yield the line of each text into which a hint is put, where it is no hint any more."""
    for node in parsed(path):
        if isinstance(node, ast.FormattedValue) and re.search(
            r"^\w+\.(hint|repair)$|\bHINT$|^(hint|command)s?\(", ast.unparse(node.value)
        ):
            yield node.lineno


SHOWING = {
    "cli.base",
    "admin.doctor",
    "screen.words",
    "cli.demo",
    "notify.announce",
}  # where it is spelt already, or names none of ours


def test_commands_are_values_and_no_texts() -> None:
    known = {*whole(corpus), *WORDS}
    for name in MODULES:
        found = dict(commands_in(source(name), known))
        wrong = {line: text for line, text in found.items() if not text.startswith(NAMED.get(name, ()))}
        assert not wrong, f"{name}: what is to be typed is hints.command(...)"
        assert all(any(text.startswith(each) for text in found.values()) for each in NAMED.get(name, ())), name
        assert name in SHOWING or not list(flattened(source(name))), f"{name}: Hint(a, b) keeps commands"


def test_a_command_in_a_text_is_found(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(
        '"""corpus log"""\nA = f"see: corpus log {1}; corpus {A}"\nB = "corpus logs"\nC = "corpus init"\n'
        'def f(exc):\n    """corpus init"""\n    return f"{exc.hint}, {command(1)}"\n'
    )
    assert sorted(commands_in(bad, ["log", "init"])) == [(2, "; corpus "), (2, "see: corpus log "), (4, "corpus init")]
    assert list(flattened(bad)) == [7, 7]
