"""The hooks that init installs into repositories; installed as corpushooks.hooks."""
