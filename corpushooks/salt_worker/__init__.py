"""Run Salt in processes that register before they act, and stop when their owner ends.

Independent of our package: it uses the standard library and (for `serve`) Salt, under Salt's own interpreter, and is
started as a folder with `-I -B` (-B since removed modules would still load from bytecode). Descriptor 0 is always a
socket:

    salt_worker serve             each datagram brings the socket of a session and its configuration's path; fork a
                                  child for each session
    salt_worker keep PROGRAM...   fd 0 is the socket of one program, which runs in our group
    salt_worker bus FILE          fd 0 is the socket of a controller, FILE the configuration of its Salt master

The socket of a session (or a kept program) carries lines of JSON. We begin with {"child": [pid, start, group]} and do
nothing before {"go": true}. A session then gets {"do": "prepare" | "renew", ...} or a question {"do": "run" | "ask" |
"close", ...}; a question is answered by {"state": ...}, {"output": ...} and {"log": ...} while it runs, and at last by
{"answer": ...} or {"error": text}; or by {"ended": wait status} if the process died. If the socket is closed, or
SIGTERM arrives, the whole group is stopped: TERM, then KILL. After "close", answered by {"prepared": how often}, the
group is left alone, so that services that states started continue.

`serve`, `keep` and `bus` are the modes. A `session` has a process that has prepared everything (`runner`) and forks for
each `question`; `touch` detects when it must prepare again, `known` caches the answers of programs that grains run,
`pillars` keeps Salt from listing the pillars of all projects, and `warm` is the work that a worker does once.
`commands` follows the commands of states, `wire` has the protocol, `processes` forks and stops, `stamps` detect
changes of files.
"""
