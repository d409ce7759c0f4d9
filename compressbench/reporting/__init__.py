"""Reads records; writes tables."""
