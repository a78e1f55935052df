"""corpushooks: deploy a project on your own server with git push."""

__version__ = "0.1.0"
