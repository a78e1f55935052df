"""The tables of the store: the schema of version 1, and the migration to each later version. Values only."""

from __future__ import annotations

from collections.abc import Mapping

# The schema of version 1; MIGRATIONS has the changes of each later version.
SCHEMA = """
CREATE TABLE project (
    name        TEXT PRIMARY KEY,
    environment TEXT NOT NULL,
    branch      TEXT NOT NULL,
    created     REAL NOT NULL,
    live        INTEGER,            -- the deployment whose result is live
    code        TEXT,               -- the live commit of project.git
    pillar      TEXT,               -- the live commit of pillar.git
    tree_code   TEXT,               -- what the stage and project/ hold: differs from code after a failure in dev
    tree_pillar TEXT,
    broken      TEXT,               -- why a person is needed
    broken_by   INTEGER             -- the deployment whose roll back failed
) STRICT;
CREATE TABLE deployment (
    project    TEXT NOT NULL,
    number     INTEGER NOT NULL,
    token      TEXT NOT NULL,          -- the request's own: asking twice queues once
    state      TEXT NOT NULL,
    request    TEXT NOT NULL,
    old_code   TEXT, new_code   TEXT,
    old_pillar TEXT, new_pillar TEXT,
    archive    TEXT,                   -- the name of its folder in archives/
    queued     REAL NOT NULL,
    started    REAL,
    decided    REAL,                   -- the state is final
    ended      REAL,                   -- nothing of it is left to do
    reason     TEXT NOT NULL DEFAULT '',
    cancelled  TEXT,                   -- by whom
    PRIMARY KEY (project, number),
    UNIQUE (project, token)
) STRICT;
CREATE INDEX deployment_open ON deployment (project, number) WHERE ended IS NULL;
CREATE TABLE journal (
    project TEXT NOT NULL,
    number  INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    step    TEXT NOT NULL,
    at      REAL NOT NULL,
    PRIMARY KEY (project, number, seq)
) STRICT;
CREATE TABLE child (
    project TEXT NOT NULL,
    number  INTEGER NOT NULL,
    pid     INTEGER NOT NULL,
    start   INTEGER NOT NULL,
    pgid    INTEGER NOT NULL
) STRICT;
CREATE INDEX child_of ON child (project, number);
"""
MIGRATIONS: Mapping[int, tuple[str, ...]] = {
    # find the last live release quickly
    2: ("CREATE INDEX deployment_live ON deployment (project, number) WHERE state = 'deployed'",),
    # ssh keys, the admissions of their sessions, and freezes
    3: (
        """CREATE TABLE key (
            name       TEXT PRIMARY KEY,
            kind       TEXT NOT NULL,
            blob       TEXT NOT NULL UNIQUE,
            right      TEXT NOT NULL,
            projects   TEXT NOT NULL DEFAULT '',  -- none named: all
            expires    REAL,
            authority  INTEGER NOT NULL DEFAULT 0,
            principals TEXT NOT NULL DEFAULT '',
            added      REAL NOT NULL,
            by         TEXT NOT NULL DEFAULT '',
            source     TEXT NOT NULL DEFAULT '',  -- none: added by hand
            seen       REAL,                      -- there, last
            person     TEXT NOT NULL DEFAULT '',
            more       TEXT NOT NULL DEFAULT ''   -- rights beside the first: RIGHT:PROJECT,PROJECT …
        ) STRICT""",
        """CREATE TABLE admission (
            token   TEXT PRIMARY KEY,
            key     TEXT NOT NULL,
            who     TEXT NOT NULL,
            right   TEXT NOT NULL,
            project TEXT NOT NULL,
            pid     INTEGER NOT NULL,
            start   INTEGER NOT NULL             -- of the process
        ) STRICT""",
        """CREATE TABLE freeze (
            project TEXT PRIMARY KEY,            -- empty: every one
            reason  TEXT NOT NULL,
            who     TEXT NOT NULL,
            at      REAL NOT NULL
        ) STRICT""",
    ),
    # ports and addresses: each belongs to one project
    4: (
        """CREATE TABLE claim (
            kind    TEXT NOT NULL,               -- port or name
            value   TEXT NOT NULL,
            project TEXT NOT NULL,
            key     TEXT NOT NULL,               -- the key of data that names a port, the URL of a name
            since   INTEGER NOT NULL,            -- the deployment that claimed it
            asked   INTEGER NOT NULL,            -- the newest that asked for it
            PRIMARY KEY (kind, value)
        ) STRICT""",
    ),
    # commands run as applications
    5: (
        """CREATE TABLE command (
            number  INTEGER PRIMARY KEY,
            project TEXT NOT NULL,
            who     TEXT NOT NULL,
            key     TEXT NOT NULL,
            words   TEXT NOT NULL,               -- without secrets
            started REAL NOT NULL,
            ended   REAL,
            code    INTEGER,                     -- none: it was ended
            reason  TEXT NOT NULL DEFAULT ''
        ) STRICT""",
        "CREATE INDEX command_of ON command (project, number)",
    ),
    # the health checks of live releases between deployments, and their results
    6: (
        """CREATE TABLE vitals (
            project   TEXT PRIMARY KEY,
            checks    TEXT NOT NULL DEFAULT '[]', -- of the live release, as JSON
            wanted    TEXT,                       -- those of the deployment wanted_by, which may never be live
            wanted_by INTEGER,
            state     TEXT NOT NULL DEFAULT '',   -- healthy or failing
            since     REAL NOT NULL DEFAULT 0,
            times     INTEGER NOT NULL DEFAULT 0, -- failures in a row
            reason    TEXT NOT NULL DEFAULT '',
            told      TEXT NOT NULL DEFAULT ''    -- the state that people were told of
        ) STRICT""",
    ),
    # the short reason of a failure, for git; until now it was the beginning of the reason
    7: (
        "ALTER TABLE deployment ADD COLUMN summary TEXT NOT NULL DEFAULT ''",
        """UPDATE deployment SET summary =
            CASE instr(reason, ': ') WHEN 0 THEN reason ELSE substr(reason, 1, instr(reason, ': ') - 1) END
            WHERE state IN ('rolling_back', 'rolled_back', 'broken', 'failed')""",
    ),
    # held deployments
    8: (
        "ALTER TABLE deployment ADD COLUMN lease REAL",  # for how many seconds; none: not at all
        "ALTER TABLE deployment ADD COLUMN held REAL",  # since when
        "ALTER TABLE deployment ADD COLUMN boot TEXT",  # up to when: in which boot of the machine …
        "ALTER TABLE deployment ADD COLUMN until REAL",  # … and at which of its seconds
        "ALTER TABLE deployment ADD COLUMN answered REAL",  # when it was no longer held
        "ALTER TABLE deployment ADD COLUMN confirmed TEXT",  # by whom
    ),
    # complete backups in the repository
    9: (
        """CREATE TABLE backup (
            project   TEXT NOT NULL,
            number    INTEGER NOT NULL,           -- of the request that made it
            name      TEXT NOT NULL UNIQUE,       -- in the repository
            at        REAL NOT NULL,              -- when it began
            code      TEXT,                       -- the commits that were live
            pillar    TEXT,
            files     INTEGER NOT NULL,
            size      INTEGER NOT NULL,
            added     INTEGER NOT NULL,           -- bytes that were new in the repository
            changed   INTEGER NOT NULL,           -- files that changed while they were read
            databases INTEGER NOT NULL,
            PRIMARY KEY (project, number)
        ) STRICT""",
    ),
    # the last drill of a backup, and its error
    10: (
        "ALTER TABLE backup ADD COLUMN drilled REAL",
        "ALTER TABLE backup ADD COLUMN wrong TEXT NOT NULL DEFAULT ''",
    ),
    # tokens for the API
    11: (
        """CREATE TABLE token (
            name     TEXT PRIMARY KEY,
            hash     TEXT NOT NULL UNIQUE,
            right    TEXT NOT NULL,
            projects TEXT NOT NULL DEFAULT '',    -- none named: all
            expires  REAL,
            added    REAL NOT NULL,
            by       TEXT NOT NULL DEFAULT ''
        ) STRICT""",
    ),
    # of which overdue backups and drills people were told
    12: (
        """CREATE TABLE overdue (
            project TEXT NOT NULL,
            what    TEXT NOT NULL,               -- backup or drill
            PRIMARY KEY (project, what)
        ) STRICT""",
    ),
    # the deployment that began while a backup went on
    13: ("ALTER TABLE backup ADD COLUMN overtaken INTEGER",),
    # people who sign in to the pages, their sessions, and what was asked for by whom
    14: (
        """CREATE TABLE account (
            name      TEXT PRIMARY KEY,
            mark      TEXT NOT NULL,              -- distinguishes it from another one with its name
            right     TEXT NOT NULL,
            projects  TEXT NOT NULL DEFAULT '',   -- none named: all
            expires   REAL,
            added     REAL NOT NULL,
            by        TEXT NOT NULL DEFAULT '',
            password  TEXT NOT NULL DEFAULT '',   -- argon2, or none yet
            link      TEXT UNIQUE,                -- the hash of a one-time link,
            link_does TEXT NOT NULL DEFAULT '',   -- what it is for,
            link_ends REAL                        -- and until when
        ) STRICT""",
        """CREATE TABLE session (
            hash    TEXT PRIMARY KEY,
            source  TEXT NOT NULL,                -- account, token, ldap or oidc
            name    TEXT NOT NULL,                -- there
            mark    TEXT NOT NULL,                -- of the account or token
            who     TEXT NOT NULL,
            groups  TEXT NOT NULL DEFAULT '[]',   -- of a person from elsewhere
            address TEXT NOT NULL,
            began   REAL NOT NULL,
            seen    REAL NOT NULL,
            checked REAL NOT NULL                 -- when the directory was last asked
        ) STRICT""",
        "CREATE INDEX session_of ON session (source, name)",
        """CREATE TABLE audit (
            id        INTEGER PRIMARY KEY,
            at        REAL NOT NULL,
            who       TEXT NOT NULL,
            via       TEXT NOT NULL,              -- push, ssh, command, token or page
            origin    TEXT NOT NULL,              -- an address, or the account of the machine
            operation TEXT NOT NULL,
            project   TEXT NOT NULL DEFAULT '',
            number    INTEGER,                    -- of the deployment
            detail    TEXT NOT NULL DEFAULT '{}', -- what was asked, without secrets, as JSON
            outcome   TEXT NOT NULL DEFAULT '',   -- done, refused, failed or left; empty: it goes on
            reason    TEXT NOT NULL DEFAULT '',
            times     INTEGER NOT NULL DEFAULT 1  -- how often it was refused so, one after the other
        ) STRICT""",
        "CREATE INDEX audit_of ON audit (project, id)",
    ),
    # the backup that was made before a deployment
    15: ("ALTER TABLE deployment ADD COLUMN backup TEXT",),
    # several machines: what a controller knows of its nodes, and a node of its controllers
    16: (
        "CREATE TABLE controller (epoch INTEGER PRIMARY KEY) STRICT",  # of this store: one row, once it has nodes
        """CREATE TABLE node (
            name    TEXT PRIMARY KEY,
            address TEXT NOT NULL,
            labels  TEXT NOT NULL DEFAULT '',
            added   REAL NOT NULL,
            by      TEXT NOT NULL DEFAULT '',
            drained INTEGER NOT NULL DEFAULT 0,
            seen    REAL
        ) STRICT""",
        """CREATE TABLE placed (
            project TEXT NOT NULL,
            node    TEXT NOT NULL,
            PRIMARY KEY (project, node)
        ) STRICT""",
        """CREATE TABLE rollout (
            project     TEXT NOT NULL,
            number      INTEGER NOT NULL,
            node        TEXT NOT NULL,
            base_code   TEXT NOT NULL DEFAULT '', -- what the node ran before
            base_pillar TEXT NOT NULL DEFAULT '',
            phase       TEXT NOT NULL,            -- what it said last
            reason      TEXT NOT NULL DEFAULT '',
            PRIMARY KEY (project, number, node)
        ) STRICT""",
        """CREATE TABLE governed (
            project    TEXT PRIMARY KEY,
            controller TEXT NOT NULL,             -- its key
            address    TEXT NOT NULL,
            epoch      INTEGER NOT NULL,
            number     INTEGER NOT NULL,          -- of the newest order
            node       TEXT NOT NULL,
            nodes      TEXT NOT NULL DEFAULT '',
            labels     TEXT NOT NULL DEFAULT ''
        ) STRICT""",
        """CREATE TABLE given_order (
            project TEXT NOT NULL,
            epoch   INTEGER NOT NULL,
            number  INTEGER NOT NULL,
            wish    TEXT NOT NULL,                -- prepare, switch or revoke
            PRIMARY KEY (project, epoch, number)
        ) STRICT""",
    ),
    # which store gave the orders of a rollout, and how it is done: both are as they were when it began
    17: (
        "ALTER TABLE rollout ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE rollout ADD COLUMN policy TEXT NOT NULL DEFAULT ''",
        "UPDATE rollout SET epoch = coalesce((SELECT max(epoch) FROM controller), 0)",
    ),
    18: ("CREATE INDEX audit_signed_in ON audit (who, origin) WHERE operation = 'sign-in'",),
    # what a node said last that it runs of a project, as JSON; empty: nothing yet
    19: ("ALTER TABLE placed ADD COLUMN said TEXT NOT NULL DEFAULT ''",),
}
VERSION = max(MIGRATIONS)
TABLES = (  # that are rescued
    "project", "deployment", "journal", "child", "key", "freeze", "claim", "command", "vitals", "backup", "token",
    "overdue", "account", "session", "audit", "controller", "node", "placed", "rollout", "governed", "given_order",
)  # fmt: skip
