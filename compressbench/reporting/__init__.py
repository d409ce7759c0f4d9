"""Reports: tables, files and cards computed from records alone."""
