"""The demo: real pictures go in over HTTP and are found again.

It is a client like any other: it knows the wire contract and the samples, and nothing of what is
behind the API.
"""
