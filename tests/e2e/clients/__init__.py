"""Calls as the programs of others make them: the vendor's packages, and generated clients."""
