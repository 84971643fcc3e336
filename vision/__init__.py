"""Picture in, boxes and feature out; knows nothing of tasks, HTTP or databases."""
