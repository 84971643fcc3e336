"""The index on hnswlib: sets of shards, with and without a graph, and their snapshots."""
