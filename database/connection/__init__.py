"""Connection: engines, the writer thread, the reader and the commit signal."""
