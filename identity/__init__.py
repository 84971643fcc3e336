"""Who calls: keys, the signature of a request, and nonces that count once.

Knows nothing of HTTP frameworks, of MongoDB, or of what a caller may then do.
"""
