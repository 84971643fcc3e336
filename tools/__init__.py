"""Programs that are not part of the service: training, benchmarks, the demo."""
