"""What all operations share: envelope, body, headers, types of fields."""
