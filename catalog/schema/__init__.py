"""The version of the rows, the migrations between versions, and the indexes."""
