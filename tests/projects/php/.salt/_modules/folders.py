"""Folders of this application."""


def of(root):
    """Return what must be there."""
    return [f"{root}/{name}" for name in ("www", "var/run", "var/log")]
