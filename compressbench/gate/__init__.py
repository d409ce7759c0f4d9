"""The gate: two sets of records in, pass, regression or inconclusive out. It reads records and measures nothing."""
