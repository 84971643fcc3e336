"""The contract with clients: the business codes and their messages."""
