"""The operations of a host, declared once: name, right, what they ask and give, and the doors that lead to them.

table          the operations: name, right, what they ask and give, doors, syntax over ssh
routes         their paths in the API
words          their syntax as commands
ssh_commands   the commands over ssh: those of the table, and git's programs

serving        checks the caller's rights over the socket, runs the operation and answers
looks, does    operations that only read, and those that act at once, by name; serving has the conversations
call           one call of an operation
pushes         the operations of git's hook
requests       deployments and what has their log: start, follow, confirm, cancel, set, watch, run
tokens         tokens for the API
people         accounts
auditing       records what is asked for
signing        sign in and out
hosting        keys, projects, freezes
configuring    the settings of a project
examining      the host: how it is reached, what doctor finds
nodes          the nodes of this controller
syncing        brings one of the nodes back to what is live
minions        those that come by a Salt master                 trust          what is trusted of them
governing      on a node: what its controller asks              node_logs      the log of a node of a rollout
acts           the act for each kind of request; given to the lanes

follower       sends a log, or the output of an application, to its reader
running        runs a command as the application
setting        sets variables, one caller at a time
assigning      turns set variables into a commit of pillar.git

The table is plain values, and all that a client loads. `looks`, `does` and `serving` bind each operation to its code.
What an operation asks and gives is in `protocol/asks` and `protocol/gives`.
"""
