-- Returns, as of one moment, the replication id of the server's data, how many records were ever added to the stream KEYS[1], and up to
-- ARGV[2] of its records after the id ARGV[1].
local info = redis.call('INFO', 'replication')
local added = 0
if redis.call('EXISTS', KEYS[1]) == 1 then
  local stream = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #stream, 2 do
    if stream[i] == 'entries-added' then added = stream[i + 1] end
  end
end
return {string.match(info, 'master_replid:(%x+)'), added, redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])}
