"""The door to backups: copies of folders in a repository elsewhere, encrypted, by a program that is made for that.

    interface   what an engine of backups can do, and what came of it     Engine, Copy, Kept, Start
    borg        the one that there is                                     Borg

What a backup is made of, when it is good and how it comes back is not known here: see `saving` and `restoring`.
"""

from corpushooks.backup.borg import Borg
from corpushooks.backup.interface import Copy, Engine, Kept, Start

__all__ = ["Borg", "Copy", "Engine", "Kept", "Start"]
