"""The process that owns the index and keeps its shards equal to the rows."""
