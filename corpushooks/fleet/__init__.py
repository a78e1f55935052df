"""Several machines: a controller rolls a release out to its nodes.

coordinator    decides: what each node shall do, commit or abort; values only
drive          asks the nodes for it: a thread for each
transport      what carries orders and answers: the interface
reach          the transport that a host uses
rollout        the procedure of a controller, and its recovery
catch_up       looks after the nodes between rollouts
"""
