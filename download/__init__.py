"""Downloads of URLs, within a deadline and only from allowed addresses.

`address` and `policy` check a URL without a DNS lookup and import no HTTP client, so that the
API process may use them; `client` fetches.
"""
