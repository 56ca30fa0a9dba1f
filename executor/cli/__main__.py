"""`python -m shard_executor.cli`: the command where its script is not on the path."""

from shard_executor.cli import main

main()
