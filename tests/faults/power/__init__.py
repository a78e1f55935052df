"""Cut the power at each moment of a deployment, on paper; see that what the store says survived, survived."""
