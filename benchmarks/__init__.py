"""What a deployment costs, as ratios: both sides in turn, in one run, on one machine. `make bench` runs them all."""
