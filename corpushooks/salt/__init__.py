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

A session is one deployment's use of Salt. Every process that it starts registers with the listener first, leads a
process group, and stops that group when we are gone (salt_worker does both). Both engines use the same generated
minion configuration, `dir/minion`, so that salt-call by hand gives the same results.
"""

from corpushooks.salt.call import SaltCallEngine
from corpushooks.salt.configuration import STATES
from corpushooks.salt.interface import Engine, Listener, Session
from corpushooks.salt.problems import Problem, id_line, key_line, problem, source, text_of, unsupported
from corpushooks.salt.results import CFG, Compiled, Minion, Planned, Result, State, redacted, result_of
from corpushooks.salt.warm import WarmEngine

__all__ = [
    "CFG",
    "STATES",
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
    "id_line",
    "key_line",
    "problem",
    "redacted",
    "result_of",
    "source",
    "text_of",
    "unsupported",
]
