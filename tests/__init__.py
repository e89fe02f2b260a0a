"""Tests: pure ones of the engine, and real ones on real files, servers, flows and processes."""
