"""Google's APIs, spoken in the model's types."""
