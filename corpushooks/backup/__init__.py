"""The door to backups: copies of folders in a repository elsewhere, encrypted, by a program that is made for that.

    interface   what an engine of backups can do, and what came of it     Engine, Copy, Kept, Start
    borg        the one that there is                                     Borg
    vault       the repository of a host, and its passphrase
    standing    how old the backups of a project are, and what is overdue
    dumps       dumps of databases, each by the program of its server
    servers     servers of databases of our own, to try a dump

What a backup is made of, when it is good and how it comes back is not known here: see deploy/.
"""

from corpushooks.backup.borg import Borg
from corpushooks.backup.interface import Copy, Engine, Kept, Start

__all__ = ["Borg", "Copy", "Engine", "Kept", "Start"]
