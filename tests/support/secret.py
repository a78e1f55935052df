"""A text that nothing may show."""

from __future__ import annotations

SECRET = "the-secret-of-the-host"
