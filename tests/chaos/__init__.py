"""Kill something at a random moment of a deployment, again and again; see that nothing is lost."""
