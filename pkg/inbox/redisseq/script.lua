-- Takes positions from the counters KEYS, and reports which server's data they are from.
--
-- ARGV: the replication id under which counters are trusted; the lifetime in milliseconds and the mark of counters created now; then for
-- each counter the number of positions to take, a tail of its inbox (-1 if unknown), and the mark that has settled since (0 for none).
--
-- A counter's value is its last position. While it is unsettled, ":" and its mark follow: it was missing, perhaps because data were lost,
-- and positions of the previous counter may be on their way. Any other value counts as missing.
--
-- Returns the role, the replication id, and for each counter its last position after those taken (0 if a tail is needed first) and its mark
-- (0 if it is settled or a tail is needed).
local call, match = redis.call, string.match
local info = call('INFO', 'replication')
local role, id = match(info, 'role:(%a+)'), match(info, 'master_replid:(%x+)')
local answer, at = {role, id}, 3
local believed = id == ARGV[1]
for i, key in ipairs(KEYS) do
  local count, tail, settled = ARGV[3 * i + 1], ARGV[3 * i + 2], ARGV[3 * i + 3]
  local value = call('GET', key)
  local last, mark = 0, 0
  if tail == '-1' then
    if believed and value and match(value, '^%d+$') then
      last = call('INCRBY', key, count)
    end
  else
    last, mark = match(value or '', '^(%d+):?(%d*)$')
    if not last then value, last, mark = false, 0, ARGV[3] end
    last = math.max(tonumber(last), tonumber(tail)) + tonumber(count)
    local new = string.format('%.0f', last)
    if mark == settled then mark = '' end
    if mark ~= '' then new = new .. ':' .. mark end
    if value then call('SET', key, new, 'KEEPTTL') else call('SET', key, new, 'PX', ARGV[2]) end
  end
  answer[at], answer[at + 1] = last, tonumber(mark) or 0
  at = at + 2
end
return answer
