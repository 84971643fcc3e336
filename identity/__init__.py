"""Authentication: keys of users, signatures of requests, nonces, and encrypted secrets."""
