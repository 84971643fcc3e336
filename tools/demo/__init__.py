"""The demo: it adds sample pictures over HTTP, and searches for them.

It uses the service only through the API, like any client.
"""
