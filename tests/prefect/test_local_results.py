"""Results that Prefect persists for a handler are stored in the home of the service."""

from prefect import flow, task

from flows.prefect_adapter.runs import local_result_storage, prefect_context, run_flow


async def test_a_persisted_result_is_stored_in_the_home_of_the_service(tmp_path):
    @task(persist_result=True)
    async def kept(number):
        return number

    @task(persist_result=True, result_storage_key="../outside")
    async def outside():
        return 1

    @flow(validate_parameters=False, persist_result=False)
    async def keeps(execution_id):
        assert await kept(7) == 7
        await outside()

    local_result_storage(keeps, tmp_path)
    async with prefect_context(None):
        state = await run_flow(keeps, "e1", "keeps")
    assert state.is_failed()
    assert "outside of the base path" in (state.message or "")
    assert any((tmp_path / "results").iterdir())
