-- Takes positions from the counters KEYS, and says on whose data it did so.
--
-- ARGV: the replication id under which counters are believed; the lifetime of those that are made now, in milliseconds, and their mark;
-- then for each counter how many positions to take, a position that its inbox's tail had, -1 if none is known, and the mark of the
-- counter that has settled since, 0 for none.
--
-- The value of a counter is its last position. As long as it is unsettled, ":" and its mark follow: it was missing, perhaps because the
-- data were lost, and positions of a counter before it may be on their way.
--
-- Answers the role, the replication id, and for each counter its last position after those taken, 0 if a tail is needed first, and its
-- mark, 0 if it is settled.
local info = redis.call('INFO', 'replication')
local role, id = string.match(info, 'role:(%a+)'), string.match(info, 'master_replid:(%x+)')
local answer = {role, id}
for i, key in ipairs(KEYS) do
  local count, tail, settled = tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2]), ARGV[3 * i + 3]
  local value = redis.call('GET', key)
  local last, mark = string.match(value or '0:' .. ARGV[3], '^(%d+):?(%d*)$')
  if tail >= 0 then
    last = math.max(tonumber(last), tail) + count
    local new = string.format('%.0f', last)
    if mark == settled then mark = '' end
    if mark ~= '' then new = new .. ':' .. mark end
    if value then redis.call('SET', key, new, 'KEEPTTL') else redis.call('SET', key, new, 'PX', ARGV[2]) end
  elseif mark == '' and id == ARGV[1] then
    last = redis.call('INCRBY', key, count)
  else
    last = 0
  end
  answer[2 * i + 1], answer[2 * i + 2] = last, tonumber(mark) or 0
end
return answer
