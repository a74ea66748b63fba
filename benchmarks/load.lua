-- Sends the requests of a file, in their order and round again, and prints what came of it as JSON.
-- A line is a method, a path and a body, between tabs. Arguments: the file, and where to begin with
-- the numbers that stand in for a mark.
local MARK = "@@@@@@@@@@"
local requests, at, number = {}, 0, 0
local marked = false

function init(args)
  for line in io.lines(args[1]) do
    local method, path, body = line:match("^(%S+)\t(%S+)\t(.*)$")
    requests[#requests + 1] = wrk.format(method, path, nil, body)
  end
  marked = requests[1]:find(MARK, 1, true) ~= nil
  number = tonumber(args[2])
end

function request()
  at = at % #requests + 1
  if not marked then return requests[at] end
  number = number + 1
  return (requests[at]:gsub(MARK, string.format("%010d", number)))
end

function done(summary, latency)
  local e = summary.errors
  print(string.format(
    '{"requests":%d,"seconds":%f,"bytes":%d,"failed":%d,"p50":%f,"p99":%f}',
    summary.requests, summary.duration / 1e6, summary.bytes,
    e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
