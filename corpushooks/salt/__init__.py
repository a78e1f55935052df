"""The door to Salt: two engines behind one interface.

    interface       what engines and their sessions are                  Engine, Session, Listener
    warm            has Salt loaded in a worker, which forks             WarmEngine
    call            a salt-call for each SLS                             SaltCallEngine
    session         what the sessions of both have in common
    configuration   that of the minion, generated for a project          STATES
    child           a process of Salt that speaks with us

A session is one deployment's use of Salt. Every process it starts has registered with the listener before it
does anything, leads a process group, and stops that group when we are gone (salt_worker sees to both).
Both engines read one generated minion configuration, `dir/minion`, so that salt-call by hand gives the same.
"""

from corpushooks.salt.call import SaltCallEngine
from corpushooks.salt.configuration import STATES
from corpushooks.salt.interface import Engine, Listener, Session
from corpushooks.salt.warm import WarmEngine

__all__ = ["STATES", "Engine", "Listener", "SaltCallEngine", "Session", "WarmEngine"]
