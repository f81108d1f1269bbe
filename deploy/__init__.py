"""The running system: actors, serving, registry, promotion, the embedded stack and the command line."""
