"""Benchmarks of retrieval, the index, a start and the sweeps, run by hand."""
