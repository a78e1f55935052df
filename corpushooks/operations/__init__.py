"""All that can be asked of a host, once: with its right, what it asks and gives, and by which doors.

table     the operations: name, right, what they ask and give, doors, words over ssh
words     how they are asked for in words
asks      what each asks, field by field
gives     what each gives, key by key
call      one operation that is asked for
serving   judges who asks, and does what is asked; answers over the socket, or in this process
pushes    what git's hook asks
requests  deployments and all that has their log: ask for one, follow it, cancel it, set, watch, run
hosting   keys, projects, freezes: what concerns the host

The table and the types of requests and results are plain values, and all that a client loads. `serving` binds each
operation to the code that carries it out.
"""
