"""One shard process: owns a range of bins, watches its pods, launches and removes them. Started by the supervisor."""
