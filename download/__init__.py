"""A URL in, bytes out, within a deadline and only from allowed addresses.

The package knows nothing of pictures, tasks, Celery or databases. `address` and
`policy` judge a URL without a look-up and import no HTTP client, so that the thin
API process may use them; `client` fetches.
"""
