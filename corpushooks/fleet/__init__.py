"""Several machines: a controller rolls a release out to its nodes.

coordinator    decides: what each node shall do, commit or abort; values only
drive          asks the nodes for it: a thread for each
rollout        the procedure of a controller, and its recovery      said         what it shows of what nodes say
requests       plans and tasks on the nodes                 logs         reads the log of a node
catch_up       looks after the nodes between rollouts
nodes          what each node says of itself

transport      what carries orders and answers: the interface
reach          the transport that a host uses
ssh            orders over the ssh of the system               session      one kept session with a node
minions        orders over a Salt master                     master         that master, and whom it trusts
origin         where a node fetches what is rolled out
bootstrap      makes a bare machine a node
identity       the key of a controller, and those of nodes     address      where a node is reached
"""
