"""The operations of the contract, one module per group, with their answers and examples."""
