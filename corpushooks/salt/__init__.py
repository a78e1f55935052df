"""The door to Salt: two engines behind one interface.

    interface       what engines and their sessions are                  Engine, Session, Listener
    warm            has Salt loaded in a worker, which forks             WarmEngine
    call            a salt-call for each SLS                             SaltCallEngine
    session         what the sessions of both have in common
    configuration   that of the minion, generated for a project          STATES
    child           a process of Salt that speaks with us
    results         what Salt is told and what it answers, as values  Result, State, Minion
    problems        what it says is wrong, read from its texts        Problem
    loader/         modules of Salt: cfg in templates, questions about a project

A session is one deployment's use of Salt. Every process it starts has registered with the listener before it
does anything, leads a process group, and stops that group when we are gone (salt_worker sees to both).
Both engines read one generated minion configuration, `dir/minion`, so that salt-call by hand gives the same.
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
