"""LLM node: requests to OpenAI-compatible servers, streamed or whole."""
