"""The parts of the pages that are made from the code: the table of settings, and the reference of the command."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields

import click

from corpushooks.checks.finding import KINDS
from corpushooks.cli.commands import whole
from corpushooks.cli.main import corpus
from corpushooks.core.backups import Backup
from corpushooks.core.events import NAMES
from corpushooks.core.schema import keys_of
from corpushooks.core.settings import schema
from corpushooks.operations.routes import ROUTES
from corpushooks.operations.ssh_commands import DOES, OPERATIONS, WORDS
from corpushooks.operations.table import OPERATIONS as TABLE
from corpushooks.web.asked import fillable
from corpushooks.web.openapi import summary
from tests.support.places import TOP

DOCS = TOP / "docs"


def marked(what: str) -> re.Pattern[str]:
    """Return what finds a part between its two comments."""
    begin, end = f"<!-- the {what} is made by python -m tests.support.reference -->\n", f"<!-- the {what} ends -->"
    return re.compile(f"(?<={re.escape(begin)}).*?(?={re.escape(end)})", re.DOTALL)


def settings() -> str:
    """Return the table of docs/settings.md, as the schema has it."""
    rows = ["| key | value | default | says |", "|---|---|---|---|"]
    for key in schema():
        default = json.dumps(list(key.default) if isinstance(key.default, tuple) else key.default)
        scope = " Also per project." if key.per_project else ""
        rows.append(f"| `{key.name}` | {key.kind.words} | `{default}` | {key.doc}{scope} |")
    return "\n" + "\n".join(rows) + "\n\n"


def backups() -> str:
    """Return the table of the keys of `backup`."""
    rows = ["| key | value | default | says |", "|---|---|---|---|"]
    for key in keys_of(Backup).values():
        default = f"`{json.dumps(key.default)}`" if key.default != "" else ""
        rows.append(f"| `{key.name}` | {key.kind.words} | {default} | {key.doc} |")
    return "\n" + "\n".join(rows) + "\n\n"


def commands() -> str:
    """Return the reference of the command, as click has it."""
    context = click.Context(corpus, info_name="corpus")
    return "\n" + "".join(f"{line}\n" for name in sorted(whole(corpus)) for line in _command(context, name)) + "\n"


def _command(above: click.Context, name: str) -> Iterator[str]:
    group = above.command
    assert isinstance(group, click.Group)
    command = group.get_command(above, name)
    assert command
    context = click.Context(command, info_name=name, parent=above)
    if isinstance(command, click.Group):
        for each in command.commands:
            yield from _command(context, each)
        return
    path = context.command_path
    yield from [f"### {path}", "", "```text", " ".join([path, *command.collect_usage_pieces(context)]), "```"]
    for part in (command.help or "").split("\n\n"):
        yield from ["", " ".join(part.split())]
    options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    if options:
        yield from ["", "| option | says |", "|---|---|"]
    yield from (f"| {_option(each)} | {each.help} |" for each in options)
    yield ""


def _option(option: click.Option) -> str:
    takes = "" if option.is_flag else f" {option.metavar or option.type.name.split()[0].upper()}"
    said = ", ".join(option.opts) + takes
    return f"<code>{said.replace('|', '&#124;')}</code>" if "|" in said else f"`{said}`"  # a bar would end the cell


def words() -> str:
    """Return the table of what may be asked over ssh."""
    rows = ["| word | needs a key that may | does |", "|---|---|---|"]
    rights = {name: row.right for name, row in OPERATIONS.items()}
    does = {**DOES, **{name: row.does for name, row in OPERATIONS.items()}}
    rows += [f"| `{f'{name} {word.usage}'.strip()}` | {rights.get(name, 'anything')} | {does[name]} |"
             for name, word in WORDS.items()]  # fmt: skip
    return "\n" + "\n".join(rows) + "\n\n"


def kinds() -> str:
    """Return the table of what a check can find."""
    rows = ["| kind | is | means | what helps |", "|---|---|---|---|"]
    rows += [f"| `{kind}` | {each.severity} | {each.means} | {each.helps} |" for kind, each in KINDS.items()]
    return "\n" + "\n".join(rows) + "\n\n"


def events() -> str:
    """Return the table of what a deployment can tell."""
    rows = ["| event | fields | means |", "|---|---|---|"]
    for name, kind in NAMES.items():
        named = ", ".join(f"`{one.name}`" + ("" if one.default is MISSING else "?") for one in fields(kind))
        rows.append(f"| `{name}` | {named} | {' '.join((kind.__doc__ or '').split())} |")
    return "\n" + "\n".join(rows) + "\n\n"


def routes() -> str:
    """Return the table of what the API has where."""
    rows = ["| address | right | does | fields |", "|---|---|---|---|"]
    for name, places in ROUTES.items():
        row = TABLE[name]
        for place in (re.sub(r":\w+", "", each) for each in places):
            named = [f"`{each}`" for each in fillable(row) if f"{{{each}}}" not in place]
            rows.append(f"| `{place}` | {row.right or 'any'} | {summary(row)} | {' '.join(named)} |")
    return "\n" + "\n".join(rows) + "\n\n"


PARTS = (  # page, what is made, how
    ("settings.md", "table", settings),
    ("backups.md", "table", backups),
    ("commands.md", "reference", commands),
    ("commands.md", "table", words),
    ("web.md", "table", routes),
    ("makina-states.md", "table of kinds", kinds),
    ("json.md", "table of events", events),
)


def write() -> None:
    """Write every part anew."""
    for page, what, made in PARTS:
        before, after = marked(what).split((DOCS / page).read_text(), maxsplit=1)
        (DOCS / page).write_text(before + made() + after)


if __name__ == "__main__":
    write()
