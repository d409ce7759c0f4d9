"""Artifacts on disk: manifest, content keys, store."""
