"""Run Salt in processes that are registered before they act and stopped when their owner ends.

Stands alone: the standard library and (for `serve`) Salt, under Salt's own interpreter, started as a folder with
`-I -B` (-B since a module that was removed would still load from its bytecode). Descriptor 0 is always a socket:

    salt_worker serve             each datagram brings the socket of a session and its configuration's path; fork a
                                  child for each session
    salt_worker keep PROGRAM...   fd 0 is the socket of one program, which runs in our group

On the socket of a session (or a kept program) go lines of JSON. We begin with {"child": [pid, start, group]} and do
nothing before {"go": true}. A session is then told {"do": "prepare" | "renew", ...} or asked {"do": "run" | "ask" |
"close", ...}; a question gives {"state": ...}, {"output": ...} and {"log": ...} as it goes, at last {"answer": ...} or
{"error": text}; or {"ended": wait status} where the process died first. Where the socket ends, or SIGTERM comes, the
whole group is stopped: TERM, then KILL. After "close", to which we say {"prepared": how often}, it is left alone:
services that states started live on.

`serve` and `keep` are the two modes. A `session` has a process that has prepared everything (`runner`) and forks for
each `question`; `touch` notices when that must be prepared anew, `known` has what programs answered that grains
ask, `pillars` keeps Salt from listing those of all projects, and `warm` is what a worker does once. `commands` follows
what states run, `wire` speaks, `processes` forks and stops, `stamps` tell whether files changed.
"""
