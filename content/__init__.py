"""What agents read and what people version: objects, intake, passages, search, artifacts, interactions."""
