"""What is done at once, bound by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from corpushooks.operations import configuring, examining, governing, hosting, minions, nodes, people, tokens
from corpushooks.operations.call import Call
from corpushooks.reports.report import Report

DOES: Mapping[str, Callable[[Call[Any]], Report]] = {  # what is done at once
    "freeze": hosting.freeze,
    "thaw": hosting.thaw,
    "init": hosting.init,
    "remove": hosting.remove,
    "remove-archive": hosting.remove_archive,
    "host": examining.host,
    "doctor": examining.doctor,
    "link": hosting.link,
    "unlink": hosting.unlink,
    "rename-branch": hosting.rename_branch,
    "setting list": configuring.list_,
    "setting set": configuring.set_,
    "setting unset": configuring.unset,
    "key list": hosting.key_list,
    "key add": hosting.key_add,
    "key set": hosting.key_set,
    "key remove": hosting.key_remove,
    "key test": hosting.key_test,
    "token list": tokens.list_,
    "token add": tokens.add,
    "token revoke": tokens.revoke,
    "account list": people.list_,
    "account add": people.add,
    "account link": people.link,
    "session list": people.sessions,
    "session end": people.end_sessions,
    "account revoke": people.revoke,
    "node add": nodes.add,
    "node accept": minions.accept,
    "node list": nodes.list_,
    "node show": nodes.show,
    "node link": nodes.link,
    "node unlink": nodes.unlink,
    "node drain": nodes.drain,
    "node resume": nodes.resume,
    "node remove": nodes.remove,
    "node key": nodes.key,
    "node hello": governing.hello,
    "node meet": minions.meet,
    "node fetch": minions.fetch,
    "node adopt": governing.adopt,
    "node release": governing.release,
}
