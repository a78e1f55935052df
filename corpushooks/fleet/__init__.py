"""Several machines: a controller rolls a release out to its nodes.

`coordinator` decides, from values alone; `drive` asks the nodes for it, over a `transport`, of which `ssh` is one;
`rollout` is the procedure of a controller; `catch_up` looks after the nodes between rollouts.
"""
