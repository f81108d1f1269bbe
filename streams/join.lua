-- One step of the join, or (without ARGV[1]) one atomic look at a shard. All is checked and computed, then written.
--
-- KEYS: m (hash: format, seq, chain, watermark, counters, one field per partition), e (id -> entry), w (open windows),
--       g (markers to drop), s (samples).
-- ARGV[1]: the step as streams/step.py packs it. The answer: what streams/step.py unpacks.
-- Entries: 'w<t>:<prediction>' waiting, 'e<t>:<outcome>' early, 'd' done. In w and g: '<time>:<id>'.
-- Numbers become text by %.0f: `..` would round them to 14 digits.
local FORMAT, CLOSE, DROP, CHUNK = '1', 256, 512, 1000
local m, e, w, g, s = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local T, NEXT, LAST, CRC, RECORDS, REJECTED, HOLES, LOST = 1, 2, 3, 4, 6, 7, 8, 9 -- of a partition (5: start)

local meta, tps = {}, {}
local fields = redis.call('HGETALL', m)
for i = 1, #fields, 2 do
  local tp = string.match(fields[i], '^tp:(.*)$')
  if tp then tps[tp] = cmsgpack.unpack(fields[i + 1]) else meta[fields[i]] = fields[i + 1] end
end
if not meta.format then return redis.error_reply('MISSING there is no such shard') end
if meta.format ~= FORMAT then return redis.error_reply('FORMAT ' .. meta.format .. ', this code reads ' .. FORMAT) end
local count = cmsgpack.unpack(meta.counters)
local seq, W, closing = tonumber(meta.seq), tonumber(meta.watermark), false
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local newest = redis.call('XREVRANGE', s, '+', '-', 'COUNT', 1)[1]

local function whole(n) return string.format('%.0f', n) end
local function time_of(item) return tonumber(string.match(item, '^%d+')) end

-- The first `most` elements of a list of '<time>:<id>', up to the first that is not due.
local function due(list, most, all)
  local head = redis.call('LINDEX', list, 0)
  if not head or not (all or time_of(head) < W) then return {} end
  local found = redis.call('LRANGE', list, 0, most - 1)
  for i, item in ipairs(found) do
    if not all and time_of(item) >= W then return {unpack(found, 1, i - 1)} end
  end
  return found
end

local function answer()
  return cmsgpack.pack({seq, meta.chain, W, now, newest and newest[1] or '0-0',
    redis.call('XLEN', s) - tonumber(meta.trimmed or 0), tonumber(meta.ending or 0), redis.call('LLEN', w),
    redis.call('LLEN', g), #due(w, CLOSE, closing) + #due(g, DROP, false), count, tps})
end

if not ARGV[1] then return answer() end

-- Check.
local step = cmsgpack.unpack(ARGV[1])
local token, moves, which, ids, times, bodies = step[1], step[7], step[8], step[9], step[10], step[11]
local window, keep, slack, ahead = step[2], step[3], step[4], step[5]
closing = step[6] == 1
if meta.token == token then return answer() end
local applies, any = {}, #moves == 0
for i, move in ipairs(moves) do
  local tp = tps[move[1]]
  if not tp then return redis.error_reply('UNKNOWN partition ' .. move[1]) end
  applies[i] = tp[NEXT] == move[2]
  any = any or applies[i]
end
if not any or (#moves == 0 and #due(w, 1, closing) + #due(g, 1, false) == 0) then return answer() end
for i = 1, #ids do
  if times[i] > now + ahead then return redis.error_reply('AHEAD ' .. ids[i] .. ': the clock went back') end
end
if seq > 0 and not (newest and string.match(newest[1], '^%d+') == meta.seq) then
  return redis.error_reply('BROKEN the stream does not end at seq ' .. meta.seq)
end

-- Compute.
local entry, touched, opens, drops, samples = {}, {}, {}, {}, {}
local function load(wanted)
  for from = 1, #wanted, CHUNK do
    local to = math.min(from + CHUNK - 1, #wanted)
    local found = redis.call('HMGET', e, unpack(wanted, from, to))
    for i = from, to do
      if not touched[wanted[i]] then entry[wanted[i]] = found[i - from + 1] end
    end
  end
end
local function add(name, n) count[name] = count[name] + n end
local function put(id, value) entry[id], touched[id] = value, true end
local function open(id, kind, t, body)
  put(id, kind .. whole(t) .. ':' .. body)
  opens[#opens + 1] = whole(t + window) .. ':' .. id
end
local function done(id, t)
  put(id, 'd')
  drops[#drops + 1] = whole(t + window + keep) .. ':' .. id
end
local function parts(held)
  local colon = string.find(held, ':', 2, true)
  return tonumber(string.sub(held, 2, colon - 1)), string.sub(held, colon + 1)
end
local function join(id, t_prediction, prediction, t_outcome, outcome)
  seq = seq + 1
  samples[#samples + 1] = '{"kind":"joined","revision":0,"prediction":' .. prediction .. ',"outcome":' .. outcome .. '}'
  add('joined', 1)
  add('used', 1)
  done(id, math.max(t_prediction, t_outcome))
end

local function prediction(id, t, body, held)
  add('predictions', 1)
  if t + window + keep < W then return add('prediction_too_late', 1) end
  local state = held and string.sub(held, 1, 1)
  if state == 'w' or state == 'd' then return add('prediction_duplicate', 1) end
  add('opened', 1)
  if state == 'e' then
    add('early', -1)
    local t_outcome, outcome = parts(held)
    if t_outcome <= t + window then return join(id, t, body, t_outcome, outcome) end
    add('late', 1)
  end
  add('waiting', 1)
  open(id, 'w', t, body)
end

local function outcome(id, t, body, held)
  add('outcomes', 1)
  if t + window + keep < W then return add('outcome_too_late', 1) end
  if not held then
    add('early', 1)
    return open(id, 'e', t, body)
  end
  if string.sub(held, 1, 1) ~= 'w' then return add('outcome_duplicate', 1) end
  local t_prediction, held_body = parts(held)
  if t > t_prediction + window then return add('late', 1) end
  add('waiting', -1)
  join(id, t_prediction, held_body, t, body)
end

load(ids)
for i = 1, #ids do
  local move = moves[which[i]]
  if applies[which[i]] then
    local apply = move[11] == 1 and outcome or prediction
    apply(ids[i], times[i], bodies[i], entry[ids[i]])
  end
end

local largest = -1
for i, move in ipairs(moves) do
  local tp = tps[move[1]]
  if applies[i] then
    tp[NEXT], tp[T] = move[3], math.max(tp[T], move[6])
    if move[4] >= 0 then tp[LAST], tp[CRC] = move[4], move[5] end
    tp[RECORDS], tp[REJECTED] = tp[RECORDS] + move[7], tp[REJECTED] + move[8]
    tp[HOLES], tp[LOST] = tp[HOLES] + move[9], tp[LOST] + move[10]
  end
end
for _, tp in pairs(tps) do largest = math.max(largest, tp[T]) end
for i, move in ipairs(moves) do
  local tp = tps[move[1]]
  if applies[i] and move[12] == 1 and largest >= 0 then
    local elapsed = math.max(0, math.min(1000, now - tonumber(meta.clock)))
    tp[T] = tp[T] < largest and largest or largest + elapsed
  end
end
local least = math.huge
for _, tp in pairs(tps) do least = math.min(least, tp[T] >= 0 and tp[T] - slack or -1) end
W = math.max(W, least)

local closed, dropped = due(w, CLOSE, closing), due(g, DROP, false)
local closed_ids, dropped_ids = {}, {}
for i, item in ipairs(closed) do closed_ids[i] = string.match(item, '^%d+:(.*)$') end
for i, item in ipairs(dropped) do dropped_ids[i] = string.match(item, '^%d+:(.*)$') end
load(closed_ids)
local gone = {}
for i, id in ipairs(closed_ids) do
  local held = entry[id]
  local t = held and held ~= 'd' and parts(held)
  if t and t + window <= time_of(closed[i]) then
    if string.sub(held, 1, 1) == 'w' then
      add('waiting', -1)
      add('unlabelled', 1)
      done(id, t)
    else
      add('early', -1)
      add('orphan', 1)
      put(id, false)
    end
  end
end
for _, id in ipairs(dropped_ids) do put(id, false) end

-- Write.
local function chunked(command, key, list)
  for from = 1, #list, CHUNK do
    redis.call(command, key, unpack(list, from, math.min(from + CHUNK - 1, #list)))
  end
end
local kept = {}
for id in pairs(touched) do
  if entry[id] then
    kept[#kept + 1] = id
    kept[#kept + 1] = entry[id]
  else
    gone[#gone + 1] = id
  end
end
local chain = whole(tonumber(string.sub(redis.sha1hex(meta.chain .. token), 1, 13), 16))
meta.chain = chain
chunked('HSET', e, kept)
chunked('HDEL', e, gone)
if #closed > 0 then redis.call('LTRIM', w, #closed, -1) end
if #dropped > 0 then redis.call('LTRIM', g, #dropped, -1) end
chunked('RPUSH', w, opens)
chunked('RPUSH', g, drops)
for i, sample in ipairs(samples) do
  newest = {whole(seq - #samples + i) .. '-' .. chain}
  redis.call('XADD', s, newest[1], 's', sample)
end
local changed = {'token', token, 'seq', whole(seq), 'chain', chain, 'watermark', whole(W), 'clock', whole(now),
  'counters', cmsgpack.pack(count)}
for i, move in ipairs(moves) do
  if applies[i] then
    changed[#changed + 1] = 'tp:' .. move[1]
    changed[#changed + 1] = cmsgpack.pack(tps[move[1]])
  end
end
redis.call('HSET', m, unpack(changed))
return answer()
