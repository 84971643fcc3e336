"""What API and workers share over Redis: queues, messages, results, searches, reports."""
