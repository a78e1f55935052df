# The tree is archived before any SLS runs: nothing to do here.
{}
