from __future__ import annotations

import pytest
import redis
from redis import exceptions

from noa_perf.core.redis import ERRORS, classify
from noa_perf.core.redis.pools import PoolBusy


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (exceptions.ConnectionError("Error 111 connecting to cache:6379. Connection refused."), "down"),
        (exceptions.ConnectionError("Connection closed by server."), "down"),
        (exceptions.AuthenticationError("invalid username-password pair"), "down"),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), "down"),
        (exceptions.ClusterDownError("CLUSTERDOWN The cluster is down"), "down"),
        (exceptions.MasterDownError("MASTERDOWN Link with MASTER is down"), "down"),
        (exceptions.ClusterError("TTL exhausted."), "down"),
        (exceptions.TryAgainError("TRYAGAIN Multiple keys request during rehashing of slot"), "down"),
        (exceptions.SlotNotCoveredError("Slot 1 is not covered by the cluster."), "down"),
        (exceptions.RedisClusterException("Redis Cluster cannot be connected."), "down"),
        (exceptions.InvalidResponse("Protocol Error"), "down"),
        (exceptions.ResponseError("NOAUTH Authentication required."), "down"),
        (exceptions.ResponseError("BUSY Redis is busy running a script."), "down"),
        (redis.sentinel.MasterNotFoundError("No master found for 'noa'"), "down"),
        (ConnectionResetError(104, "Connection reset by peer"), "down"),
        (exceptions.TimeoutError("Timeout reading from socket"), "timeout"),
        (TimeoutError(), "timeout"),
        (PoolBusy(10, 0.25), "timeout"),
        (exceptions.ReadOnlyError("You can't write against a read only replica."), "readonly"),
        (exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "oom"),
        (
            exceptions.ResponseError(
                "Error running script (call to f_1): @user_script:1: @user_script: 1: -OOM command not allowed"
            ),
            "oom",
        ),
        (exceptions.ResponseError("READONLY You can't write, script: f_1, on @user_script:1."), "readonly"),
        (exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots"), "refused"),
        (exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."), "refused"),
        (exceptions.NoPermissionError("this user has no permissions to run the 'set' command"), "refused"),
        (exceptions.ResponseError("unknown command 'GETEX', with args beginning with: 'k'"), "refused"),
        (exceptions.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), "data"),
        (exceptions.ResponseError("value is not an integer or out of range"), "data"),
        (exceptions.ResponseError("increment or decrement would overflow"), "data"),
        (exceptions.ClusterCrossSlotError("CROSSSLOT Keys in request don't hash to the same slot"), "data"),
        (exceptions.DataError("Invalid input of type: 'dict'."), "data"),
    ],
)
def test_each_error_has_its_kind_and_is_caught(error, kind):
    assert classify(error) == kind
    assert isinstance(error, ERRORS)
