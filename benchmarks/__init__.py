"""What is fast, beside what a user would take instead; run from the checkout, not installed."""
