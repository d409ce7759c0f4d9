"""The command line: parses, calls, turns errors into exit codes."""
