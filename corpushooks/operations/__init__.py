"""All that can be asked of a host, once: with its right, what it asks and gives, and by which doors.

table          the operations: name, right, what they ask and give, doors, words over ssh
routes         where the API has them
words          how they are asked for in words
ssh_commands   what can be asked over ssh: the words of the table, and git's programs

serving        judges who asks over the socket, and answers
looks, does    what changes nothing, and what is done at once, bound by name; serving has what is a conversation
call           one operation that is asked for
pushes         what git's hook asks
requests       deployments and all that has their log: ask for one, follow it, cancel it, set, watch, run
tokens         tokens for the API
hosting        keys, projects, freezes: what concerns the host
acts           what is done for each kind of request; given to the lanes

follower       feeds a log, or what an application writes, to whoever reads it
running        runs a command as the application
setting        answers who sets a variable
assigning      makes a commit of pillar.git of what is set

The table is plain values, and all that a client loads. `looks`, `does` and `serving` bind each operation to its code.
What it asks and gives is in `protocol/asks` and `protocol/gives`.
"""
