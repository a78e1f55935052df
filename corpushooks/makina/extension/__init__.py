"""Modules that Salt loads if we are installed beside it, by an entry point of its group `salt.loader`."""
