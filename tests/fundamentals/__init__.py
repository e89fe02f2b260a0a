"""Fundamentals: thirteen short tests that show what the service does, one concept a file.

Read them first. Suggested order:

1. ``test_submit_and_poll``: submit a workflow and poll the execution until it has ended.
2. ``test_parallel_branches``: branches run at the same time, and a join merges their outputs.
3. ``test_condition``: a condition selects one branch; the nodes of the other are skipped.
4. ``test_retries``: a node that fails is attempted again.
5. ``test_on_error``: a failed node continues the execution on its error branch.
6. ``test_cancel``: a client cancels a running execution.
7. ``test_wait_and_resume``: an execution waits for a person without using a slot.
8. ``test_loops``: a loop runs a part of the graph for each item of a list.
9. ``test_subworkflow``: a node runs another workflow and returns its output.
10. ``test_webhook``: an HTTP request starts a workflow.
11. ``test_stream``: a client receives the progress as Server-Sent Events.
12. ``test_crash_and_resume``: another process continues the execution of a killed service.
13. ``test_custom_node_type``: an own node type is one Prefect task.

``service`` is the real application on a real port, with its own database. ``document`` and
``node`` write workflow documents in a short form: ``flow`` lists the connections. Nodes of the
types ``gate`` and ``flaky`` exist in tests only (`tests.support.probe_nodes`).

Run one of them with ``./test.sh tests/fundamentals/test_condition.py -n 0``.
"""
