"""The table of commands: the file of each, loaded when needed, and its short help."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

from corpushooks.cli import made
from corpushooks.operations.table import COMMAND, by_door

ROWS = {
    "account": ("accounts", "Manage accounts of people who sign in to the pages"),
    "app-log": ("looking", "Show the log of the application"),
    "audit": ("audit", "Show who did what, from where"),
    "backup": ("backups", "Back up a project"),
    "backups": ("backups", "List the backups of a project"),
    "cancel": ("deployments", "Cancel the running deployment, or the next one waiting"),
    "check": ("check", "Check whether projects or folders would deploy"),
    "config": ("looking", "Print the cfg: the configuration that SLS files see"),
    "confirm": ("deployments", "Confirm a held deployment"),
    "daemon": ("daemon", "Run the daemon"),
    "demo": ("host", "Run the demo: a host in a folder and six pushes"),
    "deploy": ("deployments", "Deploy a commit, or the live one again"),
    "diff": ("looking", "Show the differences between two deployments"),
    "doctor": ("looking", "Check this host, and name the repair for each fault"),
    "check-backups": ("backups", "Check the backup repository for damage"),
    "drill": ("backups", "Test that a backup can be restored"),
    "freeze": ("keys", "Refuse deployments until thawed"),
    "help": ("host", "Show help for a command, or a page of the docs"),
    "history": ("looking", "List the deployments of a project"),
    "init": ("projects", "Create or repair a project"),
    "key": ("keys", "Manage ssh keys and their rights"),
    "log": ("looking", "Show the log of a deployment"),
    "node": ("nodes", "Manage the nodes: hosts that this one deploys to"),
    "notify": ("notify", "Test notifications"),
    "open": ("looking", "Print the addresses of a project"),
    "prune": ("backups", "Remove the expired backups of a project"),
    "rebuild": ("host", "Rebuild a lost or damaged store"),
    "remove": ("projects", "Remove a project"),
    "repair": ("deployments", "Repair a project whose rollback failed"),
    "restart": ("deployments", "Restart the systemd units of a project"),
    "restore": ("backups", "Restore parts of a backup"),
    "rollback": ("deployments", "Return to an earlier deployment"),
    "run": ("run", "Run a command as the application of a project"),
    "session": ("accounts", "Show who is signed in to the pages, and end sessions"),
    "set": ("assign", "Set variables of a project and deploy"),
    "setting": ("setting", "Show and change the settings of a project"),
    "setup": ("host", "Set up this machine as a host"),
    "status": ("looking", "Show what is live in each project"),
    "task": ("deployments", "Run a task of the live release"),
    "thaw": ("keys", "End a freeze"),
    "token": ("tokens", "Manage tokens of the API and their rights"),
    "unset": ("assign", "Unset variables of a project and deploy"),
    "watch": ("deployments", "Deploy each edit when saved (dev)"),
    "web": ("web", "Serve the pages and the API over HTTP"),
}  # the others are generated from the table of operations


class Commands(click.Group):
    """A group that loads the file of a command when it is needed."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in ROWS and cmd_name not in self.commands:
            file, short = ROWS[cmd_name]
            found = next(each for each in _commands_in(file) if each.name == cmd_name)
            found.short_help = short
            self.add_command(found)
        made.complete(self, cmd_name, own=cmd_name in ROWS)
        return self.commands.get(cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*ROWS, *made.short()})

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        known = {**made.short(), **{name: short for name, (_, short) in ROWS.items()}}
        with formatter.section("Commands"):
            formatter.write_dl([(name, known[name]) for name in self.list_commands(ctx)])


def whole(group: click.Group) -> Mapping[str, click.Command]:
    """Return all commands of a group by their names, loaded."""
    context = click.Context(group)
    found = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return {name: each for name, each in found.items() if each}


def _commands_in(file: str) -> tuple[click.Command, ...]:
    found: tuple[click.Command, ...] = importlib.import_module(f"corpushooks.cli.{file}").COMMANDS
    return found


assert not ROWS.keys() & {name for name, row in by_door(COMMAND).items() if row.part_of}
