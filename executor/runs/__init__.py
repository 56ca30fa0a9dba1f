"""Standalone runs: the journal that makes them resumable, and the tries of their tasks."""
