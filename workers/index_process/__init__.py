"""The process that owns the index: its shards kept equal to the rows."""
