"""The Python front door: `PodExecutor`, its futures and what they carry. Import them from `shard_executor` itself."""
