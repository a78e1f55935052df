"""Random kills: push, kill -9 one process that works on the push at a random moment, and see the promise kept."""
