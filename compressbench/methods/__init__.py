"""The built-in methods; importing this package registers them, as any package's entry point does."""
