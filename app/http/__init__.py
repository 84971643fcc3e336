"""What is sent and answered, whatever the operation: envelope, body, headers, types of fields."""
