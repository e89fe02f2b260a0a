"""Live: what happens in executions, told as it happens over SSE and WebSocket.

``hub`` follows the journal and hands out, ``messages`` are what it hands out, ``sse`` and
``websocket`` bring them to clients.
"""
