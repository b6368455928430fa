-- The generic cell rate algorithm, in microseconds of Redis's own clock, so that replicas need not agree on the time.
-- KEYS[1]: when the subject's whole burst is there again. ARGV: interval, burst, cost.
-- Returns: allowed (0 or 1), remaining, retry after, reset.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local room = interval * burst
local known = tonumber(redis.call('GET', KEYS[1]) or now)
-- Later than that it can only be after the clock was set back or the limit was changed.
local full_at = math.min(math.max(known, now), now + room)

local function remember(at)
  -- The key goes when there is nothing left to remember, and after 30 years at most.
  local milliseconds = math.min(math.ceil((at - now) / 1000), 1e12)
  redis.call('SET', KEYS[1], string.format('%.0f', at), 'PX', string.format('%.0f', milliseconds))
end

local next = full_at + interval * cost
local wait = next - now - room
if wait > 0 then
  -- A debt that was cut is kept as it was cut: it is not owed again at the next request.
  if known > full_at then remember(full_at) end
  return {0, math.floor((room - (full_at - now)) / interval), wait, full_at - now}
end
remember(next)
return {1, math.floor((room - (next - now)) / interval), 0, next - now}
