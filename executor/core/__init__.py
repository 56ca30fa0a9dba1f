"""The rules of the executor without IO: events and a time go in, actions come out.

Nothing in this package opens a socket, reads a clock or logs; `tests/unit/core/test_purity.py`
holds it to that by its imports.
"""
