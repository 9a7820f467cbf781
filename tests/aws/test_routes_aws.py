"""Over botocore's way, too: what other modules here check over the short way of hot requests."""

from __future__ import annotations

import pytest

from lambdafutures._backends.hot_requests import SWITCH_VARIABLE

# Chosen are the tests that make the service refuse, throttle or cut a request: with what is
# answered at once, the two ways share all code but a few lines.
from tests.aws.test_backups_aws import (  # noqa: F401
    test_an_endpoint_that_cannot_be_reached_is_no_try,
)
from tests.aws.test_errors_aws import (  # noqa: F401
    test_a_deleted_bucket_in_poll_mode,
    test_a_deleted_function,
    test_an_expired_token,
    test_an_expired_token_in_the_middle,
    test_another_region,
    test_no_credentials,
    test_the_client_may_not_get,
    test_the_client_may_not_invoke,
)
from tests.aws.test_faults_aws import (  # noqa: F401
    test_a_cut_response_of_a_long_call_is_found_in_the_store,
    test_a_killed_sandbox_costs_a_retry,
    test_broken_connections_pass,
    test_errors_of_lambda_and_s3_pass,
    test_retry_after_is_honoured,
    test_throttles_halve_what_is_in_flight_and_cost_no_try,
)


@pytest.fixture(autouse=True)
def _botocores_way(monkeypatch):
    monkeypatch.setenv(SWITCH_VARIABLE, "off")


@pytest.mark.parametrize("switch", ["", "off"])
def test_the_way_is_the_one_that_is_chosen(aws, monkeypatch, switch):
    monkeypatch.setenv(SWITCH_VARIABLE, switch)
    with aws.executor(1, "poll") as ex:
        assert ex.submit(abs, -1).result() == 1
        invoker = ex._pool.invoker
        assert (invoker._client._hot is None) == (switch == "off")
        assert (invoker._store._requests._hot is None) == (switch == "off")
