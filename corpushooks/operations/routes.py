"""Where the API has each operation: methods and paths below /api/v1. Values only.

What a path names in braces is a field of what is asked; GET and DELETE take the other fields from the query, the rest
from a JSON body.
"""

from __future__ import annotations

from collections.abc import Mapping

P, N = "/projects/{project}", "/{number:int}"
ROUTES: Mapping[str, tuple[str, ...]] = {
    "whoami": ("GET /whoami",),
    "status": ("GET /projects", f"GET {P}"),
    "history": (f"GET {P}/deployments",),
    "deployment": (f"GET {P}/deployments{N}",),
    "log": (f"GET {P}/deployments{N}/log",),
    "commands": (f"GET {P}/commands",),
    "open": (f"GET {P}/addresses",),
    "app-log": (f"GET {P}/app-log",),
    "archives": (f"GET {P}/archives",),
    "storage": (f"GET {P}/storage",),
    "tasks": (f"GET {P}/tasks",),
    "names": (f"GET {P}/names",),
    "backups": (f"GET {P}/backups",),
    "stats": ("GET /stats", f"GET {P}/stats"),
    "metrics": ("GET /metrics", f"GET {P}/metrics"),
    "audit": ("GET /audit", f"GET {P}/audit"),
    "config": (f"GET {P}/config",),
    "diff": (f"GET {P}/diff",),
    "variables": (f"GET {P}/variables",),
    "deploy": (f"POST {P}/deployments",),
    "plan": (f"POST {P}/plans",),
    "rollback": (f"POST {P}/rollbacks",),
    "task": (f"POST {P}/tasks",),
    "restart": (f"POST {P}/restarts",),
    "backup": (f"POST {P}/backups",),
    "drill": (f"POST {P}/drills",),
    "restore": (f"POST {P}/restores",),
    "repair": (f"POST {P}/repairs",),
    "confirm": (f"POST {P}/deployments{N}/confirm",),
    "cancel": (f"POST {P}/cancel",),
    "set": (f"POST {P}/variables",),
    "unset": (f"POST {P}/variables/unset",),
    "freeze": ("POST /freeze", f"POST {P}/freeze"),
    "thaw": ("POST /thaw", f"POST {P}/thaw"),
    "init": ("POST /projects",),
    "remove": (f"DELETE {P}",),
    "remove-archive": (f"DELETE {P}/archives{N}",),
    "host": ("GET /host",),
    "doctor": ("GET /host/checks",),
    "link": (f"POST {P}/link",),
    "unlink": (f"POST {P}/unlink",),
    "rename-branch": (f"POST {P}/rename-branch",),
    "key list": ("GET /keys",),
    "key add": ("POST /keys",),
    "key set": ("PATCH /keys/{name}",),
    "key remove": ("DELETE /keys/{name}",),
    "key test": ("GET /keys/{name}/test",),
    "token list": ("GET /tokens",),
    "token revoke": ("DELETE /tokens/{name}",),
    "account list": ("GET /accounts",),
    "account revoke": ("DELETE /accounts/{name}",),
}
NOT_THERE: Mapping[str, str] = {  # what the command can ask and the API cannot
    "run": "it needs descriptors of the caller",
    "watch": "it goes on for as long as the caller stays",
    "token add": "a token makes no tokens",
    "account add": "a token makes no accounts",
    "account link": "a token makes no accounts",
}
