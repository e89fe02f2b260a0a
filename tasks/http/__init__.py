"""HTTP node: requests through one guarded client, and the decoding of responses."""
