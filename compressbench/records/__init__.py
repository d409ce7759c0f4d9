"""Records of what was made and measured: schema and log."""
