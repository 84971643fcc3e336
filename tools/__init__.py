"""Programs that are no part of the service: training, benchmarks, the demo."""
