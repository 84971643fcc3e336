"""`snapsku evaluate`: how well a collection answers the queries of its own users."""
