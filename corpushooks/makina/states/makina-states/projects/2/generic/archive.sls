# The tree is archived before any SLS runs: nothing is left to do here.
{}
