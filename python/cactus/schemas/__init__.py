"""Python types and functions as JSON schemas, and JSON values back as objects of those types."""
