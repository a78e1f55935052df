"""The door to Salt: two engines behind one interface.

    interface       the interface of engines and sessions             Engine, Session, Listener
    warm            the engine with a worker that has Salt loaded     WarmEngine
    call            the engine with a salt-call for each SLS          SaltCallEngine
    session         the common part of the sessions of both
    configuration   the generated minion configuration of a project   STATES
    child           a Salt process, connected by a socket
    results         values: input and results of Salt                 Result, State, Minion
    problems        errors, parsed from the messages of Salt          Problem
    loader/         Salt modules: cfg in templates, questions about a project

    bus             questions to minions over a Salt master           Bus
    wire            the configurations of that master, of minions
    node/           the module that a minion loads of us

A session is one deployment's use of Salt. Every process that it starts registers with the listener first, leads a
process group, and stops that group when we are gone (salt_worker does both). Both engines use the same generated
minion configuration, `dir/minion`, so that salt-call by hand gives the same results.
"""

from corpushooks.salt.bus import Bus, at_work, finger, key_pair, public
from corpushooks.salt.call import SaltCallEngine
from corpushooks.salt.configuration import STATES
from corpushooks.salt.interface import Engine, Listener, Session
from corpushooks.salt.problems import Problem, id_line, key_line, problem, source, text_of, unsupported
from corpushooks.salt.results import CFG, Compiled, Minion, Planned, Result, State, redacted, result_of
from corpushooks.salt.warm import WarmEngine
from corpushooks.salt.wire import (
    ALL,
    MASTER_FILE,
    MASTER_PORTS,
    MINION_FILE,
    NODE_MODULE,
    NODE_MODULES,
    master_configuration,
    minion_configuration,
    read_wire,
    wire_text,
)

__all__ = [
    "ALL",
    "CFG",
    "MASTER_FILE",
    "MASTER_PORTS",
    "MINION_FILE",
    "NODE_MODULE",
    "NODE_MODULES",
    "STATES",
    "Bus",
    "Compiled",
    "Engine",
    "Listener",
    "Minion",
    "Planned",
    "Problem",
    "Result",
    "SaltCallEngine",
    "Session",
    "State",
    "WarmEngine",
    "at_work",
    "finger",
    "id_line",
    "key_line",
    "key_pair",
    "master_configuration",
    "minion_configuration",
    "problem",
    "public",
    "read_wire",
    "redacted",
    "result_of",
    "source",
    "text_of",
    "unsupported",
    "wire_text",
]
