"""The benchmark of retrieval: how often the first row of a search is the right one."""
