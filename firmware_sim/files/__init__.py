"""Generators of device files, each deterministic from its arguments."""
