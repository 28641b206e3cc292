-- Sends the requests of a file one after the other, each once and then from the start, and tells what came of it.
-- A line of the file is a path, or a path and a body with a tab between.

local requests, at = {}, 0

function init(arguments)
    for line in io.lines(arguments[1]) do
        local path, body = line:match("^([^\t]*)\t?(.*)$")
        requests[#requests + 1] = wrk.format(body ~= "" and "POST" or "GET", path, nil, body ~= "" and body or nil)
    end
end

function request()
    at = at % #requests + 1
    return requests[at]
end

function done(summary, latency, _)
    local errors = summary.errors
    io.write(string.format('\n{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "failed": %d}\n',
        summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
